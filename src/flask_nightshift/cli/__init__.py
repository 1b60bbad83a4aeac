"""``flask jobs …``: run, watch and repair, from a terminal.

Results go to standard output; ``--json`` prints all of them. A mistake of the operator, and a broker or database that
is down, are one line on standard error and exit code 1. A command is imported when it is run or its help is shown, and
imports slow modules itself, so ``flask --help`` stays fast and a worker stays small. ``operations`` does what a command
asks for, and it shows what ``operations`` and ``observe`` return; ``serve.py`` runs processes.
"""

from .base import JobsGroup

jobs = JobsGroup(
    "jobs",
    help="Run, watch and repair background jobs.",
    places={
        "up": "serve:up",
        "broker": "serve:broker",
        "worker": "serve:worker",
        "beat": "serve:beat",
        "dashboard": "serve:dashboard",
        "migrate": "serve:migrate",
        "health": "watch:health",
        "stats": "watch:stats",
        "workers": "workers:workers",
        "doctor": "watch:doctor",
        "list": "listing:list_",
        "show": "show:show",
        "cancel": "cancel:cancel",
        "copy": "copying:copy",
        "dead": "dead:dead",
        "delayed": "queues:delayed",
        "locks": "locks:locks",
        "pause": "pauses:pause",
        "resume": "pauses:resume",
        "purge": "queues:purge",
        "recover": "recover:recover",
        "schedule": "schedule:schedule",
        "audit": "audit:audit",
        "bulk": "bulk:bulk",
        "token": "token:token",
        "mcp": "mcp:mcp",
    },
)

__all__ = ["jobs"]
