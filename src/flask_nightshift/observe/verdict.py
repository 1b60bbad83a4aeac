"""Is it well? The state of the system in one sentence and a colour, and all that is wrong, the worst first.

Pure: ``Signs`` is what was seen, and each rule looks for one kind of trouble in it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..domain.job import Outcome
from ..outbox.claims import Backlog
from ..store.heartbeats import WorkerRow
from ..text.counts import plural
from ..text.spans import span
from .health import Check
from .queues import QueueRow
from .waiting.words import clock

LATE = 300.0
"""Seconds that the oldest job of a queue waits from which on that is worth a warning."""
SLOW_OUTBOX = 60.0
"""The same for a job in the outbox, which a relay publishes within seconds."""
FEW_DEATHS = 3
"""Deaths in the last minutes that are worth a warning, if they are at least ``SOME`` of all ends."""
SOME, HALF = 0.05, 0.5
MOST_NAMED = 3


class Tone(enum.StrEnum):
    """How well it is; the order is that of importance."""

    BAD = "bad"
    WARN = "warn"
    GOOD = "good"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, in one sentence. ``about``: the page that shows more, by its name."""

    tone: Tone
    sentence: str
    about: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: the sentence of the worst of ``troubles``, or that all is well."""

    tone: Tone
    sentence: str
    troubles: tuple[Trouble, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The verdict in plain JSON types."""
        troubles = [{"tone": str(t.tone), "sentence": t.sentence, "about": t.about} for t in self.troubles]
        return {"tone": str(self.tone), "sentence": self.sentence, "troubles": troubles}


@dataclass(frozen=True, slots=True)
class Signs:
    """What was seen. None: it could not be asked, and ``parts`` (of ``health``) say why.

    ``counts``: the attempts of the last ``minutes``, by outcome. ``dying``: what dies most, such as ``mail.send
    (OSError)``. ``scheduled``: the number of entries of the schedule. ``used``: whether a job ever ended.
    """

    parts: Mapping[str, Check]
    queues: Sequence[QueueRow] = ()
    workers: Sequence[WorkerRow] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    minutes: float = 5.0
    dying: str = ""
    outbox: Backlog | None = None
    wiped_at: datetime | None = None
    scheduled: int = 0
    used: bool = True

    def down(self, part: str) -> str | None:
        """Why ``part`` does not answer; None if it does."""
        check = self.parts.get(part)
        return None if check is None or check.ok else check.detail


def verdict(signs: Signs) -> Verdict:
    """Is it well?"""
    found = sorted(
        (each for rule in RULES for each in rule(signs)), key=lambda each: list(Tone).index(each.tone)
    )
    if not signs.used and not signs.workers and not any(signs.down(part) for part in ("broker", "database")):
        return Verdict(Tone.QUIET, "Nothing has run here yet.", tuple(found))
    if found:
        return Verdict(found[0].tone, found[0].sentence, tuple(found))
    return Verdict(Tone.GOOD, well(signs))


def well(signs: Signs) -> str:
    """A sentence about a system in which nothing is wrong."""
    workers = signs.workers or ()
    ended = sum(signs.counts.values())
    a_minute = ended / signs.minutes
    said = [plural(len(workers), "worker", "run")]
    if ended:
        rate = f"{a_minute:,.0f}" if a_minute >= 10 else f"{a_minute:.1f}".removesuffix(".0")
        said.append(f"{rate} {'job ends' if rate == '1' else 'jobs end'} each minute")
    oldest = max((queue.oldest or 0.0 for queue in signs.queues), default=0.0)
    said.append(
        f"the oldest job waits for {span(timedelta(seconds=oldest))}" if oldest >= 1 else "no job waits"
    )
    return f"All is well: {', '.join(said[:-1])}, and {said[-1]}."


def _broker(signs: Signs) -> Iterator[Trouble]:
    if (why := signs.down("broker")) is not None:
        said = f"The broker does not answer: {_clause(why)}. No job begins until it is back."
        yield Trouble(Tone.BAD, said, "overview")


def _database(signs: Signs) -> Iterator[Trouble]:
    if (why := signs.down("database")) is not None:
        said = f"The database does not answer: {_clause(why)}. Jobs go on, and the history catches up later."
        yield Trouble(Tone.BAD, said, "overview")


def _lost_data(signs: Signs) -> Iterator[Trouble]:
    if signs.wiped_at is not None:
        said = f"The broker lost its data at {clock(signs.wiped_at)}, and with it the jobs that waited there."
        yield Trouble(Tone.BAD, said, "overview")


def _no_worker(signs: Signs) -> Iterator[Trouble]:
    if signs.workers is None or any(row.healthy for row in signs.workers):
        return
    if signs.workers:
        ill = signs.workers[0]
        yield Trouble(Tone.BAD, f"No worker is healthy: {ill.name}: {_clause(ill.problem)}.", "workers")
    else:
        yield Trouble(Tone.BAD, "No worker runs, so no job begins.", "workers")


def _ill_workers(signs: Signs) -> Iterator[Trouble]:
    rows = signs.workers or ()
    ill = [row for row in rows if not row.healthy]
    if ill and len(ill) < len(rows):
        which = f"{len(ill)} of {len(rows)} workers {'is' if len(ill) == 1 else 'are'} not healthy"
        yield Trouble(Tone.WARN, f"{which}: {ill[0].name}: {_clause(ill[0].problem)}.", "workers")


def _unheard(signs: Signs) -> Iterator[Trouble]:
    if not any(row.healthy for row in signs.workers or ()):
        return
    for queue in [row for row in signs.queues if row.unheard][:MOST_NAMED]:
        waits = plural(queue.ready or 0, "job", "wait")
        yield Trouble(Tone.BAD, f"{waits} in {queue.queue}, and no worker consumes that queue.", "queues")


def _deaths(signs: Signs) -> Iterator[Trouble]:
    died = signs.counts.get(Outcome.DEAD, 0)
    ended = died + signs.counts.get(Outcome.SUCCEEDED, 0)
    if died < FEW_DEATHS or died < SOME * ended:
        return
    most = f", most of them {signs.dying}" if signs.dying else ""
    said = f"{died:,} of the {ended:,} jobs that ended in the last {signs.minutes:.0f} minutes died{most}."
    yield Trouble(Tone.BAD if died >= HALF * ended else Tone.WARN, said, "letters")


def _late(signs: Signs) -> Iterator[Trouble]:
    late = [
        row
        for row in signs.queues
        if (row.oldest or 0) > LATE and row.ready and not row.pause and not row.unheard
    ]
    for queue in sorted(late, key=lambda row: -(row.oldest or 0))[:MOST_NAMED]:
        age = span(timedelta(seconds=queue.oldest or 0))
        said = f"The oldest of {plural(queue.ready or 0, 'job')} in {queue.queue} waits for {age}"
        ways = (
            f"; at this rate it is empty in {span(timedelta(seconds=queue.time_to_empty))}"
            if queue.time_to_empty
            else ""
        )
        yield Trouble(Tone.WARN, f"{said}{ways}.", "queues")


def _beat(signs: Signs) -> Iterator[Trouble]:
    why = signs.down("beat")
    if why is None or signs.down("database") is not None:
        return
    if signs.scheduled:
        entries = "1 entry" if signs.scheduled == 1 else f"{signs.scheduled} entries"
        yield Trouble(Tone.BAD, f"Beat does not run, so none of the {entries} of the schedule is due: {_clause(why)}.",
                      "schedules")  # fmt: skip
    else:
        yield Trouble(
            Tone.WARN, f"Beat does not run, so old history is not deleted: {_clause(why)}.", "schedules"
        )


def _paused(signs: Signs) -> Iterator[Trouble]:
    for queue in [row for row in signs.queues if row.pause and row.ready][:MOST_NAMED]:
        waits = plural(queue.ready or 0, "job", "wait")
        yield Trouble(Tone.WARN, f"{queue.queue} is {queue.pause}; {waits} there.", "queues")


def _outbox(signs: Signs) -> Iterator[Trouble]:
    if signs.outbox is not None and signs.outbox.rows and signs.outbox.oldest > SLOW_OUTBOX:
        waits = plural(signs.outbox.rows, "job", "wait")
        age = span(timedelta(seconds=signs.outbox.oldest))
        yield Trouble(Tone.WARN, f"{waits} in the outbox to be published, the oldest for {age}.", "overview")


def _clause(text: str) -> str:
    """A sentence as the end of another one."""
    return text.rstrip(". ")


RULES: tuple[Callable[[Signs], Iterator[Trouble]], ...] = (
    _broker,
    _database,
    _lost_data,
    _no_worker,
    _unheard,
    _beat,
    _deaths,
    _late,
    _ill_workers,
    _outbox,
    _paused,
)
"""In the order of importance, among those of one tone."""

__all__ = ["LATE", "RULES", "Signs", "Tone", "Trouble", "Verdict", "verdict", "well"]
