"""The history of jobs and attempts, and exact totals.

``Journal`` observes events and writes them in batches from its own thread, so that history never stops work. Totals are
never dropped while the process lives, and none counts twice. Records of single jobs are dropped if the database is down
for long.
"""

from .jobs import Row as JobRow
from .jobs import dead_row, record_progress, record_replayed
from .jobs import write as write_jobs
from .queues import waiting_queues
from .recorder import Journal
from .records import find_job
from .retention import prune
from .tally import BUCKETS, UNKNOWN, Tally, TotalsRow, cumulative, recent_totals, totals
from .tally import add as add_totals

__all__ = [
    "BUCKETS",
    "UNKNOWN",
    "JobRow",
    "Journal",
    "Tally",
    "TotalsRow",
    "add_totals",
    "cumulative",
    "dead_row",
    "find_job",
    "prune",
    "recent_totals",
    "record_progress",
    "record_replayed",
    "totals",
    "waiting_queues",
    "write_jobs",
]
