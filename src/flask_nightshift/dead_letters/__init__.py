"""Jobs that died: archived from the broker's dead-letter queue, looked at, replayed or discarded.

``Archiver`` drains the queue into the table; nothing leaves the queue before the table has it.
"""

from .archiver import Archiver, archive
from .letters import ArchivedLetter, Filters, Status, count, find, list_letters
from .replay import Result, discard, replay

__all__ = [
    "ArchivedLetter",
    "Archiver",
    "Filters",
    "Result",
    "Status",
    "archive",
    "count",
    "discard",
    "find",
    "list_letters",
    "replay",
]
