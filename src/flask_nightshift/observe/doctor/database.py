"""Check the database: whether it answers, has our tables, and takes our records."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.engine import make_url

from ...brokers.values import Finding
from ...message.burial import REFUSED_QUEUE
from ...services import Services
from ...store import access, refused
from ..bounded_calls import Answer
from .check import Seen, asks, away, looks, some

WAITS = "Jobs run; their history waits in memory, and dead letters in the broker."


@asks(lambda services: services.store.ping())
def database(seen: Seen, ping: Answer) -> Iterator[Finding]:
    """Whether the database answers."""
    url = seen.services.store.url
    if ping.ok:
        yield Finding("ok", "database", f"{url}, {ping.value * 1000:.1f} ms")
    else:
        yield Finding(
            "error",
            "database",
            away(url, ping),
            "Start it, or correct NIGHTSHIFT_DATABASE_URL, and run `flask jobs migrate`. "
            "Jobs run without it; their history waits.",
        )


@asks(lambda services: services.store.pending_migrations(), needs=database)
def migrations(_: Seen, pending: Answer) -> Iterator[Finding]:
    """Whether all migrations are applied."""
    if not pending.ok:
        yield Finding(
            "error",
            "migrations",
            str(pending.error),
            "Correct what the database says; if it is about rights, grant them.",
        )
    elif pending.value:
        waiting = ", ".join(pending.value)
        yield Finding("error", "migrations", f"not applied: {waiting}", "Run `flask jobs migrate`.")
    else:
        yield Finding("ok", "migrations", "all applied")


@asks(lambda services: services.store.missing_tables(), needs=database)
def missing_tables(_: Seen, missing: Answer) -> Iterator[Finding]:
    """Tables that someone dropped."""
    if missing.value:
        yield Finding(
            "error",
            "tables",
            f"missing, though all migrations are applied: {', '.join(missing.value)}",
            "Something dropped them. `flask jobs migrate` makes them anew, empty; what was in them is in your backup.",
        )


@asks(lambda services: services.store.missing_indexes(), needs=database)
def missing_indexes(_: Seen, missing: Answer) -> Iterator[Finding]:
    """Indexes that someone dropped, or whose build was interrupted."""
    if missing.value:
        yield Finding(
            "warning",
            "indexes",
            f"missing or unfinished: {', '.join(missing.value)}",
            "Run `flask jobs migrate`, which builds them while jobs run. Until then some queries are slow.",
        )


def _denied(services: Services) -> list[str] | None:
    """The tables that the role may not write; None if the whole database is read-only."""
    return None if access.read_only(services.store) else access.denied(services.store)


@asks(_denied, needs=database)
def rights(_: Seen, denied: Answer) -> Iterator[Finding]:
    """Whether the database takes our writes."""
    if not denied.ok:
        yield Finding("error", "database", f"it takes no writes: {denied.error}", f"Correct that. {WAITS}")
    elif denied.value is None:
        yield Finding(
            "error",
            "database",
            "it is read-only: a standby, or default_transaction_read_only is on",
            f"Let NIGHTSHIFT_DATABASE_URL lead to the primary. {WAITS}",
        )
    elif denied.value:
        yield Finding(
            "error",
            "rights",
            f"the role may not read and write {', '.join(denied.value)}",
            f"GRANT {', '.join(access.RIGHTS)} ON these tables to it, also after each `flask jobs migrate` "
            f"with another role. {WAITS}",
        )


@asks(lambda services: refused.count(services.store), needs=database)
def refused_records(_: Seen, count: Answer) -> Iterator[Finding]:
    """Records and dead letters that the database refused for their content."""
    if count.value:
        yield Finding(
            "warning",
            "refused",
            f"the database refused {count.value} records or dead letters for their content",
            "They are in the table nightshift_refused, with the error and their bytes; the log has store.refused.",
        )


@asks(lambda services: services.broker.depths([REFUSED_QUEUE]))
def parked_letters(_: Seen, depths: Answer) -> Iterator[Finding]:
    """Dead letters that no table takes, and that a queue keeps."""
    count = sum(depth.ready for depth in depths.value or ())
    if count:
        yield Finding(
            "warning",
            "refused",
            f"the database stores {count} dead letters in no table; they are in the queue {REFUSED_QUEUE!r}",
            "The log has dead_letters.letter_parked with the error. The letters are probably too large.",
        )


@looks
def shared_sqlite(seen: Seen) -> Iterator[Finding]:
    """SQLite on several hosts."""
    hosts = sorted({view.hostname for view in seen.workers})
    if make_url(seen.services.settings.database_url).get_backend_name() == "sqlite" and len(hosts) > 1:
        yield Finding(
            "warning",
            "database",
            f"SQLite is used from several hosts ({some(hosts)}); its locks do not work over a network",
            "Use PostgreSQL: NIGHTSHIFT_DATABASE_URL=postgresql+psycopg://…",
        )


__all__ = [
    "database",
    "migrations",
    "missing_indexes",
    "missing_tables",
    "parked_letters",
    "refused_records",
    "rights",
    "shared_sqlite",
]
