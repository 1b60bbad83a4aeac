"""The history of jobs and attempts, and exact totals.

``Journal`` observes events and writes them in batches from its own thread, so that history never stops work. Totals are
never dropped while the process lives, and none counts twice. Records of single jobs are dropped if the database is down
for long.
"""

from . import series
from .folding import fold
from .jobs import Row as JobRow
from .jobs import dead_row, expired_row, record_changed, record_replayed
from .jobs import write as write_jobs
from .pace import ended_by_queue, ended_since
from .progress import Progress
from .purged import mark_purged
from .queues import oldest_ready, waiting_queues
from .recorded import note
from .recorder import Journal
from .records import find_job
from .relatives import announced, find_family
from .retention import prune, prune_durable, prune_once
from .steps import Pace
from .tally import BUCKETS, UNKNOWN, Tally, TotalsRow, any_ended, cumulative, recent_totals, totals
from .tally import add as add_totals
from .unfinished import Target, Unfinished, targets, unfinished

__all__ = [
    "BUCKETS",
    "UNKNOWN",
    "JobRow",
    "Journal",
    "Pace",
    "Progress",
    "Tally",
    "Target",
    "TotalsRow",
    "Unfinished",
    "add_totals",
    "announced",
    "any_ended",
    "cumulative",
    "dead_row",
    "ended_by_queue",
    "ended_since",
    "expired_row",
    "find_family",
    "find_job",
    "fold",
    "mark_purged",
    "note",
    "oldest_ready",
    "prune",
    "prune_durable",
    "prune_once",
    "recent_totals",
    "record_changed",
    "record_replayed",
    "series",
    "targets",
    "totals",
    "unfinished",
    "waiting_queues",
    "write_jobs",
]
