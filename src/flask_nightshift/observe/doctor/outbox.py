"""Check the outbox: whether its databases have its table, and relays publish what stays there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ...brokers.values import Finding
from ...errors import DatabaseUnavailable
from ...outbox import claims
from ...services import Services
from ...text.counts import plural
from ..bounded_calls import Answer
from .check import Seen, asks
from .database import database

LATE = 60.0
"""Seconds after which a job that still waits in the outbox is reported."""


def _pending(services: Services) -> dict[str, str]:
    """What is wrong with our tables in the app's own database, by its URL, if it is not the history's."""
    found = {}
    for store in services.outboxes:
        if store is not services.store:
            try:
                found[store.url] = ", ".join(store.pending_migrations())
            except DatabaseUnavailable as exc:
                found[store.url] = str(exc)
    return {url: what for url, what in found.items() if what}


@asks(_pending)
def outbox_migrations(_: Seen, pending: Answer) -> Iterator[Finding]:
    """Whether all migrations are applied to the app's own database, too."""
    for url, what in (pending.value or {}).items():
        yield Finding(
            "error",
            "migrations",
            f"not applied to the app's own database, {url}: {what}",
            "Run `flask jobs migrate`. Until then no job can wait there for a transaction (delay_on_commit).",
        )


def _missing_indexes(services: Services) -> dict[str, list[str]]:
    """The indexes that our tables lack in the app's own database, by its URL, if it is not the history's."""
    found = {}
    for store in services.outboxes:
        if store is not services.store:
            with suppress(DatabaseUnavailable):  # another check says so
                found[store.url] = store.missing_indexes()
    return {url: names for url, names in found.items() if names}


@asks(_missing_indexes)
def outbox_indexes(_: Seen, missing: Answer) -> Iterator[Finding]:
    """Indexes of the app's own database that someone dropped, or whose build was interrupted."""
    for url, names in (missing.value or {}).items():
        yield Finding(
            "warning",
            "indexes",
            f"missing or unfinished in the app's own database, {url}: {', '.join(names)}",
            "Run `flask jobs migrate`, which builds them while jobs run. Until then some queries are slow.",
        )


@asks(lambda services: claims.backlog_of(services.outboxes), needs=database)
def outbox(_: Seen, backlog: Answer) -> Iterator[Finding]:
    """Jobs that wait for a relay for too long."""
    if backlog.ok and backlog.value.oldest > LATE:
        rows, oldest = backlog.value
        yield Finding(
            "warning",
            "outbox",
            f"{plural(rows, 'job', 'wait')} in the outbox, the oldest for {oldest:.0f} s",
            "Workers and Beat publish them: start one, and look into its log for outbox.relay_paused or "
            "outbox.queue_refuses.",
        )


@asks(lambda services: sum(map(claims.of_other_formats, services.outboxes)), needs=database)
def outbox_formats(_: Seen, count: Answer) -> Iterator[Finding]:
    """Jobs in the outbox that another version has written in a format that we do not know."""
    if count.value:
        yield Finding(
            "warning",
            "outbox",
            f"{count.value} jobs in the outbox have a format that this version does not know",
            "Start a worker or Beat of the version that wrote them; it publishes them.",
        )


__all__ = ["outbox", "outbox_formats", "outbox_indexes", "outbox_migrations"]
