"""A check of ``flask jobs doctor``: what it asks, and what it finds in the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...brokers.values import Finding
from ...services import Services
from ...store.heartbeats import WorkerRow
from ..bounded_calls import Answer
from ..overview import Overview


@dataclass(frozen=True, slots=True)
class Seen:
    """What every check may look at: the app's services, and the overview of the system."""

    services: Services
    overview: Overview

    @property
    def workers(self) -> list[WorkerRow]:
        """The healthy workers; empty if the database does not answer."""
        rows = self.overview.workers.value if self.overview.workers.ok else []
        return [row for row in rows if row.healthy]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    ``question`` asks a broker, a database or the disk. It runs in a thread with a time limit, at the same time as the
    questions of other checks. If the question of ``needs`` was not answered, this check finds nothing.
    """

    name: str
    finds: Callable[[Seen, Answer], Iterable[Finding]]
    question: Callable[[Services], Any] | None = None
    needs: Check | None = None


def looks(find: Callable[[Seen], Iterable[Finding]]) -> Check:
    """A check that asks nothing: it looks at what every check sees."""
    return Check(find.__name__, lambda seen, _: find(seen))


def asks(
    question: Callable[[Services], Any], *, needs: Check | None = None
) -> Callable[[Callable[[Seen, Answer], Iterable[Finding]]], Check]:
    """A check that asks ``question``, and finds something in the answer."""
    return lambda find: Check(find.__name__, find, question, needs)


def away(url: str, answer: Answer) -> str:
    """A sentence saying that the server at ``url`` does not answer, and why."""
    error = str(answer.error)
    return error if url in error or "NIGHTSHIFT_BROKER_URL" in error else f"{url} does not answer: {error}"


def some(names: Iterable[str], limit: int = 5) -> str:
    """The first ``limit`` names, and the number of the others."""
    listed = list(names)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


__all__ = ["Check", "Seen", "asks", "away", "looks", "some"]
