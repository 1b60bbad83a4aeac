"""What each command prints with ``--json``; ``docs/reference/json.md`` is made from this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .actions import BulkAction, Incident, Started
from .audit import AuditPage
from .copies import Copied
from .jobs import (
    Cancellation,
    Cancellations,
    DelayedJob,
    HandedOver,
    JobDetail,
    JobPage,
    Taken,
)
from .letters import DeadLetter, Discarded, Replayed
from .schedule import Entry, EntryPaused, EntryResumed, EntryRun, EntrySkipped
from .system import (
    Finding,
    Health,
    Lock,
    Migrated,
    NewToken,
    Overview,
    Purged,
    QueueChange,
    Recovered,
    RevokedToken,
    Token,
    Worker,
)


class Output(NamedTuple):
    """What a command prints: a shape, or a list of one. ``when`` tells several of one command apart."""

    shape: Any
    when: str = ""


BULK = Output(Started, "with `--bulk`")
OUTPUTS: Mapping[str, tuple[Output, ...]] = MappingProxyType(
    {
        "migrate": (Output(list[Migrated]),),
        "health": (Output(Health),),
        "stats": (Output(Overview),),
        "workers": (Output(list[Worker]),),
        "doctor": (Output(list[Finding]),),
        "list": (Output(JobPage),),
        "show": (Output(JobDetail),),
        "cancel": (Output(Cancellation, "of one job"), Output(Cancellations, "of a filter"), BULK),
        "copy": (Output(Copied),),
        "dead incidents": (Output(list[Incident]),),
        "dead list": (Output(list[DeadLetter]),),
        "dead show": (Output(DeadLetter),),
        "dead replay": (Output(Replayed), BULK),
        "dead discard": (Output(Discarded), BULK),
        "delayed list": (Output(list[DelayedJob]),),
        "delayed cancel": (Output(list[Taken]),),
        "delayed run-now": (Output(list[Taken]), BULK),
        "delayed hand-over": (Output(list[HandedOver]),),
        "locks": (Output(list[Lock]),),
        "locks release": (Output(Lock),),
        "pause": (Output(list[QueueChange]),),
        "resume": (Output(list[QueueChange]),),
        "purge": (Output(list[Purged]),),
        "recover": (Output(Recovered),),
        "schedule list": (Output(list[Entry]),),
        "schedule show": (Output(Entry),),
        "schedule run-now": (Output(EntryRun),),
        "schedule skip-next": (Output(EntrySkipped),),
        "schedule pause": (Output(list[EntryPaused]),),
        "schedule resume": (Output(list[EntryResumed]),),
        "audit": (Output(AuditPage),),
        "bulk list": (Output(list[BulkAction]),),
        "bulk show": (Output(BulkAction),),
        "bulk cancel": (Output(BulkAction),),
        "token create": (Output(NewToken),),
        "token list": (Output(list[Token]),),
        "token revoke": (Output(list[RevokedToken]),),
    }
)
"""By the words of the command."""

__all__ = ["OUTPUTS", "Output"]
