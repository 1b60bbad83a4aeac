"""The record of jobs and attempts, and totals that are exact.

``Journal`` observes events and writes them from a thread of its own, in batches: history never stops work.
Totals are never dropped while the process lives, and none counts twice; records of single jobs are, when the
database is away for long.
"""

from .jobs import record_dead, record_progress, record_replayed
from .recorder import Journal
from .records import AttemptRecord, JobRecord, find_job
from .retention import prune
from .tally import BUCKETS, TotalsRow, count_outcome, cumulative, recent_totals, totals

__all__ = [
    "BUCKETS",
    "AttemptRecord",
    "JobRecord",
    "Journal",
    "TotalsRow",
    "count_outcome",
    "cumulative",
    "find_job",
    "prune",
    "recent_totals",
    "record_dead",
    "record_progress",
    "record_replayed",
    "totals",
]
