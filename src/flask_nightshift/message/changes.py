"""Changes the arguments in a job's message, and makes the message of a copy.

Only JSON bodies can be changed. What ``NIGHTSHIFT_REDACT`` hides is shown as ``***`` to whoever changes them, and a
``***`` that comes back means the value that the message has at that place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..errors import ArgumentsRefused
from ..text.passwords import HIDDEN
from .arguments import Texts
from .envelope import Envelope
from .headers import (
    DEAD,
    DURABLE,
    HISTORY,
    ON_EXPIRED,
    ORIGIN,
    TAGS,
    history,
    job_headers,
    job_properties,
    run,
)

CHANGED = "changed"
"""Key in the ``nightshift`` header of a replayed job: the runs that began with changed arguments."""
MOST_CHARACTERS = 1_000_000
"""Characters of the arguments that somebody gives."""
_JSON = "application/json"
_PLACE = ("task_id", "parent_id", "root_id")
"""Options of a following job's signature that belong to the original and not to its copy."""
_MOST_DEEP = 50


class Body(NamedTuple):
    """The body of a message: arguments, and ``embed`` with its callbacks, chain and chord."""

    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]

    def encoded(self) -> bytes:
        """The bytes of the body."""
        return json.dumps(list(self), separators=(",", ":")).encode()


class Editable(NamedTuple):
    """Arguments as JSON for somebody who changes them; empty where only ``said``, a text of the caller, tells them."""

    args: str
    kwargs: str
    said: tuple[str, str] = ("", "")


def body_of(envelope: Envelope) -> Body:
    """The body of ``envelope``; raises ``ArgumentsRefused`` unless it is a job's, in JSON."""
    if envelope.content_type != _JSON:
        raise ArgumentsRefused(
            f"the arguments of this job are {envelope.content_type}, and only those in JSON can be read and changed"
        )
    try:
        args, kwargs, embed = json.loads(envelope.body)
    except (ValueError, TypeError, RecursionError) as exc:
        raise ArgumentsRefused(f"the body of this job cannot be read as a job's: {exc}") from exc
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embed or {}, dict)):
        raise ArgumentsRefused(
            "the body of this job is not that of a job: arguments, keyword arguments, callbacks"
        )
    return Body(args, kwargs, embed or {})


def editable(envelope: Envelope, texts: Texts) -> Editable:
    """The arguments of ``envelope`` as ``texts`` shows them; raises ``ArgumentsRefused``."""
    body = body_of(envelope)
    args, kwargs = (json.dumps(each, ensure_ascii=False) for each in texts.shown(body.args, body.kwargs))
    said = texts.of(envelope.headers, envelope.body)
    own = said[0] if said[0] != args else "", said[1] if said[1] != kwargs else ""
    return Editable("" if own[0] else args, "" if own[1] else kwargs, own)


def with_arguments(envelope: Envelope, args: str | None, kwargs: str | None, texts: Texts) -> Envelope:
    """``envelope`` with other arguments: ``args`` a JSON list, ``kwargs`` a JSON object; None or '' leaves them.

    Returns the same envelope if that changes nothing. Raises ``ArgumentsRefused``.
    """
    body = body_of(envelope)
    shown = texts.shown(body.args, body.kwargs)
    own = editable(envelope, texts).said
    new_args = _given("args", args, list, body.args, HIDDEN if own[0] else shown[0])
    new_kwargs = _given("kwargs", kwargs, dict, body.kwargs, HIDDEN if own[1] else shown[1])
    if (new_args, new_kwargs) == (body.args, body.kwargs):
        return envelope
    said = texts.recorded(envelope.headers, envelope.body)
    headers = {
        **envelope.headers,
        "argsrepr": _text(said[0], own[0], new_args == body.args, lambda: texts.args(tuple(new_args))),
        "kwargsrepr": _text(said[1], own[1], new_kwargs == body.kwargs, lambda: texts.kwargs(new_kwargs)),
    }
    return replace(
        envelope, body=Body(new_args, new_kwargs, body.embed).encoded(), headers=headers, plain=False
    )


def noted_change(envelope: Envelope) -> Envelope:
    """``envelope`` of a dead letter whose next run begins with changed arguments, which its header says."""
    past = history(envelope.headers)
    known = [each for each in past.get(CHANGED) or () if isinstance(each, int)][-9:]
    past[CHANGED] = [*known, run(envelope.headers) + 1]
    return replace(envelope, headers={**envelope.headers, HISTORY: past})


def copied(envelope: Envelope, job_id: str, queue: str, at: datetime) -> Envelope:
    """The message of a new job ``job_id`` that does what the job of ``envelope`` was to do.

    It keeps arguments, limits, priority, tags and callbacks. The jobs that follow it get new ids. It leaves its group
    and chord, which count each of their jobs once, and has no delay and no expiry. Raises ``ArgumentsRefused``.
    """
    body, past = body_of(envelope), history(envelope.headers)
    headers = job_headers(envelope.headers)
    old = headers.get("id")
    for name in (
        DEAD,
        "retries",
        "eta",
        "expires",
        "group",
        "group_index",
        "parent_id",
        "replaced_task_nesting",
    ):
        headers.pop(name, None)
    kept = {name: past[name] for name in (TAGS, ON_EXPIRED, "unique") if name in past}
    durable = {DURABLE: True} if past.get(DURABLE) else {}
    headers |= {
        "id": job_id,
        "root_id": job_id,
        HISTORY: {"enqueued_at": at.isoformat(), "queue": queue, **kept, **durable, ORIGIN: str(old)},
    }
    properties = {**job_properties(envelope.properties), "correlation_id": job_id}
    embed = {name: _anew(value, _MOST_DEEP) for name, value in body.embed.items() if name != "chord"}
    whole = Body(body.args, body.kwargs, embed)
    raw = envelope.body if embed == body.embed else whole.encoded()
    return Envelope(raw, headers, properties, envelope.content_type, envelope.content_encoding)


def _anew(value: Any, depth: int) -> Any:
    """Signatures without the ids that the original gave their jobs."""
    if not depth:
        raise ArgumentsRefused("what follows this job is nested too deeply to be copied")
    if isinstance(value, list):
        return [_anew(each, depth - 1) for each in value]
    if not isinstance(value, Mapping) or "task" not in value:
        return value
    options, inner = value.get("options"), value.get("kwargs")
    made = dict(value)
    if isinstance(options, Mapping):
        made["options"] = {
            name: _anew(each, depth - 1) for name, each in options.items() if name not in _PLACE
        }
    if isinstance(inner, Mapping) and str(value["task"]).startswith("celery."):
        made["kwargs"] = {name: _anew(each, depth - 1) for name, each in inner.items()}
    return made


def _given(name: str, text: str | None, kind: type, stored: Any, shown: Any) -> Any:
    if text is None or not text.strip():
        return stored
    if len(text) > MOST_CHARACTERS:
        raise ArgumentsRefused(f"{name} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are taken")
    try:
        given = json.loads(text, object_pairs_hook=_object)
    except RecursionError as exc:
        raise ArgumentsRefused(f"{name} is nested too deeply") from exc
    except ValueError as exc:
        raise ArgumentsRefused(f"{name} is not JSON: {exc}") from exc
    if not isinstance(given, kind):
        wanted = "a JSON list, such as [1, true]" if kind is list else 'a JSON object, such as {"user_id": 1}'
        raise ArgumentsRefused(f"{name} must be {wanted}")
    try:
        return _restored(given, shown, stored, name)
    except RecursionError as exc:
        raise ArgumentsRefused(f"{name} is nested too deeply") from exc


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _restored(given: Any, shown: Any, stored: Any, where: str) -> Any:
    """``given`` with the stored values in place of those that were shown as hidden."""
    if given == HIDDEN and isinstance(given, str):
        if shown == HIDDEN:
            return stored
        raise ArgumentsRefused(
            f"{where} is {HIDDEN!r}, which stands for a hidden value, and the job has none at that place: "
            "write the value"
        )
    if isinstance(given, dict):
        return {
            name: _restored(each, *_member(shown, stored, name), f"{where}.{name}")
            for name, each in given.items()
        }
    if isinstance(given, list):
        return [
            _restored(each, *_member(shown, stored, at), f"{where}[{at}]") for at, each in enumerate(given)
        ]
    return given


def _member(shown: Any, stored: Any, key: Any) -> tuple[Any, Any]:
    """What was shown, and is stored, below ``key``; None if nothing is."""
    if type(shown) is not type(stored) or not isinstance(stored, (dict, list)):
        return None, None
    there = key in stored if isinstance(stored, dict) else isinstance(key, int) and key < len(stored)
    return (shown[key], stored[key]) if there else (None, None)


def _text(said: str, own: str, same: bool, made: Callable[[], str]) -> str:
    """The short text of arguments: as it was, or the caller's own with a note, or a new one."""
    if same:
        return said
    return f"{own.removesuffix(' (changed)')} (changed)" if own else made()


__all__ = [
    "CHANGED",
    "MOST_CHARACTERS",
    "Body",
    "Editable",
    "body_of",
    "copied",
    "editable",
    "noted_change",
    "with_arguments",
]
