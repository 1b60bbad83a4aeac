"""``flask jobs …``: run, watch and repair, from a terminal.

Results go to standard output; ``--json`` prints all of them. A mistake of the operator, and a broker or database that
is down, are one line on standard error and exit code 1. A command imports slow modules itself, so that ``flask --help``
stays fast. ``operations`` does what a command asks for, and it shows what ``operations`` and ``observe`` return;
``serve.py`` runs processes.
"""

from .audit import audit
from .base import JobsGroup
from .bulk import bulk
from .cancel import cancel
from .copying import copy
from .dead import dead
from .listing import list_
from .locks import locks
from .mcp import mcp
from .pauses import pause, resume
from .queues import delayed, purge
from .recover import recover
from .schedule import schedule
from .serve import beat, broker, dashboard, migrate, up, worker
from .show import show
from .token import token
from .watch import doctor, health, stats
from .workers import workers

jobs = JobsGroup("jobs", help="Run, watch and repair background jobs.")
for _command in (
    up,
    broker,
    worker,
    beat,
    dashboard,
    migrate,
    health,
    stats,
    workers,
    doctor,
    list_,
    show,
    cancel,
    copy,
    dead,
    delayed,
    locks,
    pause,
    resume,
    purge,
    recover,
    schedule,
    audit,
    bulk,
    token,
    mcp,
):
    jobs.add_command(_command)

__all__ = ["jobs"]
