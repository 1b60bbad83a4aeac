"""What a worker does with one portion of a bulk action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import Connection

from ...errors import NightshiftError
from ...outbox.relay import Relay
from ...services import Services
from ...store.bulk_actions import BulkAction, Progress

F = TypeVar("F")

Finish = Callable[[Connection, Progress], None]
"""Notes what the portion did, in a transaction; raises ``Overtaken`` if another worker has taken the portion over."""


class Overtaken(NightshiftError):
    """Another worker has taken the portion over, so what this one did in its transaction must not count."""


class NotUnderstood(NightshiftError):
    """A newer version has started the action, and this one cannot carry it out."""


@dataclass(frozen=True, slots=True)
class Portion:
    """The next portion of ``action``: up to ``size`` jobs or dead letters. ``relay`` publishes what it enqueues."""

    services: Services
    action: BulkAction
    size: int
    relay: Relay
    finish: Finish

    def finish_alone(self, progress: Progress) -> None:
        """``finish`` in a transaction of its own."""
        with self.services.store.begin() as connection:
            self.finish(connection, progress)


def restored(kind: type[F], values: Mapping[str, Any]) -> F:
    """The filters that a row has as plain values; raises ``NotUnderstood`` for a condition that ``kind`` lacks."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := values.keys() - known:
        raise NotUnderstood(f"this version does not know the conditions {', '.join(sorted(unknown))}")
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


__all__ = ["Finish", "NotUnderstood", "Overtaken", "Portion", "restored"]
