"""The database: engine, tables, migrations, and the heartbeats of workers and Beat."""

from .store import Store

__all__ = ["Store"]
