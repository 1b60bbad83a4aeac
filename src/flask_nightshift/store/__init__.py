"""The database that remembers jobs: engine, tables, migrations, and who is alive."""

from .store import Store

__all__ = ["Store"]
