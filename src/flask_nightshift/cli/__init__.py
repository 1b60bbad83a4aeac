"""``flask jobs …``: run, watch and repair, from a terminal.

Results go to standard output, complete with ``--json``; an operator's mistake, or a broker or database that
is away, is one line on standard error and exit code 1. What is slow to import is imported by the command
that needs it, so that ``flask --help`` stays fast.
"""

from .base import JobsGroup
from .dead import dead
from .queues import delayed, purge
from .serve import beat, broker, migrate, up, worker
from .watch import doctor, health, show, stats

jobs = JobsGroup("jobs", help="Run, watch and repair background jobs.")
for _command in (up, broker, worker, beat, migrate, health, stats, doctor, show, dead, delayed, purge):
    jobs.add_command(_command)

__all__ = ["jobs"]
