"""``flask jobs …``: run, watch and repair, from a terminal.

Results go to standard output; ``--json`` prints all of them. A mistake of the operator, and a broker or database that
is down, are one line on standard error and exit code 1. A command imports slow modules itself, so that ``flask --help``
stays fast. ``operations`` does what a command asks for, and it shows what ``operations`` and ``observe`` return;
``serve.py`` runs processes.
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
