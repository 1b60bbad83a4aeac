"""Show dead letters in a terminal: a list, or one with its attempts and traceback."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..text.printable import in_a_line
from .base import ago, cells, console, say, short_error, table, when

if TYPE_CHECKING:
    from rich.table import Table

    from ..message.arguments import Texts
    from ..operations.dead_letters import ArchivedLetter


SHOWN = 8
"""Number of characters of an id that lists show: its last, because ids of one minute begin alike."""


def tail(id_: str) -> str:
    """The end of ``id_``, for a list."""
    return in_a_line(id_[-SHOWN:])


def listed(letters: list[ArchivedLetter], *, with_status: bool) -> Table:
    """A table of ``letters``."""
    now = datetime.now(UTC)
    extra = ["status"] if with_status else []
    columns = ("id", "died", ("task", {"ratio": 2}), "reason", ("error", {"ratio": 3}), "fingerprint")
    shown = table(*columns, *extra)
    for archived in letters:
        letter, failure = archived.letter, archived.letter.failure
        age = ago(max(0.0, (now - letter.at).total_seconds()))
        error = short_error(failure.error, failure.message) if failure else None
        row = [tail(letter.id), age, letter.task, letter.reason, error, archived.fingerprint]
        shown.add_row(*cells(row + ([archived.status] if with_status else [])))
    return shown


def show(archived: ArchivedLetter, texts: Texts, beginning: str) -> None:
    """Print one letter with everything that we know about it; ``texts`` are those of its task.

    ``beginning`` is that of a message that is no job.
    """
    letter = archived.letter
    args, kwargs = archived.arguments(texts)
    status = f"{archived.status}" + (
        "" if archived.status == "waiting" else f" since {when(archived.status_at)} UTC"
    )
    lines = {
        "dead letter": letter.id,
        "job": letter.job_id,
        "task": letter.task,
        "queue": letter.queue,
        "reason": letter.reason,
        "error": letter.failure,
        "raised at": archived.place,
        "died": f"{when(letter.at)} UTC" + (f", on {letter.worker}" if letter.worker else ""),
        "status": status,
        "fingerprint": archived.fingerprint,
        "args": args,
        "kwargs": kwargs,
        "new args": archived.new_args,
        "new kwargs": archived.new_kwargs,
        "copy of": archived.origin,
    }
    for name, value in lines.items():
        if value is not None and value != "":
            say(f"{name:<12} {in_a_line(value)}")
    if not letter.task:
        say(f"{'body':<12} {in_a_line(beginning)}")
    if archived.attempts:
        console().print(_attempts(archived.attempts))
    if letter.failure and letter.failure.traceback:
        click.secho("Traceback", bold=True)
        say(letter.failure.traceback.rstrip())


def _attempts(attempts: list[dict[str, Any]]) -> Table:
    right = {"justify": "right"}
    shown = table(("#", right), "started (UTC)", ("took", right), ("error", {"ratio": 1}), title="Attempts")
    for attempt in attempts:
        started = str(attempt.get("at") or "")[:19].replace("T", " ")
        error = short_error(attempt.get("error"), attempt.get("message"))
        shown.add_row(*cells([attempt.get("number"), started, ago(attempt.get("runtime")), error]))
    return shown


__all__ = ["listed", "show", "tail"]
