"""Unique jobs: their publishing, and their locks in the database, for brokers that cannot hold them."""

from .locks import DatabaseLocks, Rows
from .publishing import DUPLICATE, publish
from .rows import release_of_dead, release_of_purged

__all__ = ["DUPLICATE", "DatabaseLocks", "Rows", "publish", "release_of_dead", "release_of_purged"]
