"""Dead letters: archived from the broker's queue into the table, listed, replayed or discarded.

``Archiver`` empties the queue; a letter leaves it only after the table has it.
"""

from .archiver import Archiver
from .letters import ArchivedLetter, Filters, Status, count, find, list_letters
from .replay import Changed, Result, discard, replay
from .writing import archive

__all__ = [
    "ArchivedLetter",
    "Archiver",
    "Changed",
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
