"""What ``flask jobs doctor`` looks for in the database, and in the app's own migrations of it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from flask_nightshift_alembic import CELERYS

from ..brokers.base import Finding
from ..message.burial import REFUSED_QUEUE
from ..services import Services
from ..store import access, refused
from ..store.migration import VERSION_TABLE
from ..store.tables import metadata
from .bounded_calls import Answer

MAX_FILES = 5_000
"""Migrations of the app that are read, the newest first."""
_OURS = frozenset({*metadata.tables, VERSION_TABLE, *CELERYS})


def questions(services: Services) -> dict[str, Callable[[], Any]]:
    """What to ask, by name; each answer may fail alone, and ``findings`` takes them all."""
    store = services.store
    return {
        "doctor-app-migrations": lambda: list(_dropping(services.app)),
        "doctor-database": store.ping,
        "doctor-migrations": store.pending_migrations,
        "doctor-missing": store.missing_tables,
        "doctor-denied": lambda: access.denied(store),
        "doctor-read-only": lambda: access.read_only(store),
        "doctor-refused": lambda: refused.count(store),
        "doctor-parked": lambda: services.broker.depths([REFUSED_QUEUE]),
    }


def findings(services: Services, asked: Mapping[str, Answer]) -> Iterator[Finding]:
    """What the answers to ``questions`` mean."""
    yield from asked["doctor-app-migrations"].value or ()
    answer, url = asked["doctor-database"], services.store.url
    if answer.ok:
        yield Finding("ok", "database", f"{url}, {answer.value * 1000:.1f} ms")
        yield from _migrations(asked["doctor-migrations"])
        yield from _missing(asked["doctor-missing"])
        yield from _writable(asked["doctor-read-only"], asked["doctor-denied"])
        yield from _refused(asked["doctor-refused"])
    else:
        yield Finding(
            "error",
            "database",
            away(url, answer),
            "Start it, or correct NIGHTSHIFT_DATABASE_URL, and run `flask jobs migrate`. "
            "Jobs run without it; their history waits.",
        )
    yield from _parked(asked["doctor-parked"])


def away(url: str, answer: Answer) -> str:
    """That what is at ``url`` does not answer, and why."""
    error = str(answer.error)
    return error if url in error or "NIGHTSHIFT_BROKER_URL" in error else f"{url} does not answer: {error}"


def _migrations(pending: Answer) -> Iterator[Finding]:
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


def _writable(read_only: Answer, denied: Answer) -> Iterator[Finding]:
    waits = "Jobs run; their history waits in memory, and dead letters in the broker."
    if read_only.value:
        yield Finding(
            "error",
            "database",
            "it is read-only: a standby, or default_transaction_read_only is on",
            f"Let NIGHTSHIFT_DATABASE_URL lead to the primary. {waits}",
        )
    elif not denied.ok:
        yield Finding("error", "database", f"it takes no writes: {denied.error}", f"Correct that. {waits}")
    elif denied.value:
        yield Finding(
            "error",
            "rights",
            f"the role may not read and write {', '.join(denied.value)}",
            f"GRANT {', '.join(access.RIGHTS)} ON these tables to it, also after each `flask jobs migrate` "
            f"with another role. {waits}",
        )


def _dropping(app: Flask) -> Iterator[Finding]:
    """Migrations of the app that drop our tables: made before Alembic was told to look away, or by hand."""
    for file in _files(app):
        if tables := _dropped_by(file):
            yield Finding(
                "error",
                "app migrations",
                f"{file} drops {', '.join(tables)}: whoever applies it deletes the history and the dead letters",
                "Delete these lines from the migration. `flask db migrate` does not write them any more.",
            )


def _missing(missing: Answer) -> Iterator[Finding]:
    if missing.value:
        yield Finding(
            "error",
            "tables",
            f"missing, though all migrations are applied: {', '.join(missing.value)}",
            "Something dropped them. `flask jobs migrate` makes them anew, empty; what was in them is in your backup.",
        )


def _refused(count: Answer) -> Iterator[Finding]:
    if count.value:
        yield Finding(
            "warning",
            "refused",
            f"the database refused {count.value} records or dead letters for their content",
            "They are in the table nightshift_refused, with the error and their bytes; the log has store.refused.",
        )


def _parked(depths: Answer) -> Iterator[Finding]:
    count = sum(depth.ready for depth in depths.value or ())
    if count:
        yield Finding(
            "warning",
            "refused",
            f"the database stores {count} dead letters in no table; they are in the queue {REFUSED_QUEUE!r}",
            "The log has dead_letters.letter_parked with the error. The letters are probably too large.",
        )


def _files(app: Flask) -> Iterator[Path]:
    """The files of Flask-Migrate's folder, or of the one that it would make."""
    folder = str(getattr(app.extensions.get("migrate"), "directory", None) or "migrations")
    places = {
        Path(base, folder, "versions").resolve() for base in (".", app.root_path, f"{app.root_path}/..")
    }
    found = [file for place in places if place.is_dir() for file in place.glob("*.py")]
    yield from sorted(found, key=_age)[:MAX_FILES]


def _age(file: Path) -> tuple[float, str]:
    return -file.stat().st_mtime, file.name


def _dropped_by(file: Path) -> list[str]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    names = (_table(node) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sorted({name for name in names if name in _OURS})


def _table(call: ast.Call) -> str | None:
    """The table that ``op.drop_table("…")`` drops."""
    function: Any = call.func
    if getattr(function, "attr", getattr(function, "id", None)) != "drop_table":
        return None
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "table_name")]
    first = given[0] if given else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


__all__ = ["away", "findings", "questions"]
