"""Change the arguments of a job before it is replayed or copied: checked against its task, with new keys."""

from __future__ import annotations

import inspect
from typing import Any

from msgspec.structs import replace

from ..domain.job import utcnow
from ..enqueue.unique import UniqueKeyError, Uniqueness, uniqueness
from ..errors import ArgumentsRefused, PermanentFailure
from ..message import changes
from ..message.changes import Editable
from ..message.codec import decode
from ..message.envelope import Envelope
from ..message.headers import HISTORY, history
from ..message.unique import STARTED, UNIQUE, Lock, lock_of
from ..once import markers
from ..services import Services
from ..task.once import key_of

MOST_NAMES = 20
"""Parameters that an error names."""


def editable(services: Services, envelope: Envelope) -> Editable:
    """The job's arguments as JSON, with ``***`` for what is hidden; raises ``ArgumentsRefused`` for others."""
    return changes.editable(envelope, services.texts(_name(envelope)))


def parameters(services: Services, task: str | None) -> str:
    """The parameters of the task, as in its definition but without defaults; empty if it is not known here."""
    known = _signature(services.celery.tasks.get(task or ""))
    if known is None:
        return ""
    return ", ".join(_parameter(each) for each in list(known.parameters.values())[:MOST_NAMES])


def changed(services: Services, envelope: Envelope, args: str | None, kwargs: str | None) -> Envelope:
    """The message with other arguments; the same object if they are the same.

    ``args`` is a JSON list, ``kwargs`` a JSON object; None or '' leaves them. ``***`` at the place of a hidden value
    keeps it. The key of a unique job is made anew, unless the call that enqueued it gave one. Raises
    ``ArgumentsRefused``: no JSON, not what the task takes, or no key.
    """
    made = changes.with_arguments(envelope, args, kwargs, services.texts(_name(envelope)))
    if made is envelope:
        return envelope
    task = services.celery.tasks.get(_name(envelope))
    given, now = _arguments(envelope), _arguments(made)
    _check(_name(envelope), task, *now)
    lock = lock_of(envelope.headers)
    return made if lock is None else _relocked(services, made, task, lock, given, now)


def check_unchanged(allowed: bool) -> None:
    """Raise ``ArgumentsRefused`` for arguments that are the same, unless that is ``allowed``."""
    if not allowed:
        raise ArgumentsRefused(
            "these are the arguments that the job has, and you may only run it with others: change one"
        )


def check_once(services: Services, envelope: Envelope) -> None:
    """Raise ``ArgumentsRefused`` if the job would not run, because another one has done its work, or does it now.

    That is decided by the ``idempotency_key`` of its task. Raises ``DatabaseUnavailable``.
    """
    task = services.celery.tasks.get(_name(envelope))
    if getattr(task, "idempotency_key", None) is None:
        return
    try:
        key = key_of(task, *_arguments(envelope))
    except (RuntimeError, PermanentFailure) as exc:
        raise ArgumentsRefused(f"{exc}") from exc
    with services.store.read() as connection:
        marker = markers.read(connection, f"{task.name}:{key}")
    if marker is None or marker.expires_at <= utcnow() or marker.job_id == envelope.headers.get("id"):
        return
    who = f"the job {marker.job_id}" if marker.job_id else "a process outside of any job"
    when = (
        f"has done its work at {marker.finished_at:%Y-%m-%d %H:%M:%S} UTC"
        if marker.finished_at
        else "does it now"
    )
    raise ArgumentsRefused(f"{who} {when} (the same idempotency key), so this job would be skipped")


def _arguments(envelope: Envelope) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments as the task gets them."""
    body = decode(envelope.body)
    return list(body[0]), dict(body[1])


def _check(name: str, task: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    signature = _signature(task)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        names = ", ".join(_parameter(each) for each in list(signature.parameters.values())[:MOST_NAMES])
        raise ArgumentsRefused(
            f"the task {name} does not take these arguments: {exc}; it takes ({names})"
        ) from exc


def _signature(task: Any) -> inspect.Signature | None:
    """The signature of the task's body; None if the task is not known here, or Python cannot tell."""
    try:
        return inspect.signature(task.run) if task is not None else None
    except (TypeError, ValueError, AttributeError):
        return None


def _parameter(parameter: inspect.Parameter) -> str:
    """Its name; in brackets if it has a default, which may be a secret."""
    stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
    name = f"{stars}{parameter.name}"
    return name if parameter.default is parameter.empty else f"[{name}]"


def _relocked(
    services: Services,
    envelope: Envelope,
    task: Any,
    lock: Lock,
    given: tuple[list[Any], dict[str, Any]],
    now: tuple[list[Any], dict[str, Any]],
) -> Envelope:
    """``envelope`` with the lock of its arguments ``now``, if the key of ``lock`` follows from those ``given``."""
    if task is None:
        raise ArgumentsRefused(
            f"the job is unique, and its task {_name(envelope)} is not known here, so its new key is not either: "
            "change it where the app has the task"
        )
    how = _how(services, task, lock)
    try:
        follows = how.lock(lock.job_id, *given).key == lock.key
    except UniqueKeyError:
        follows = False
    if not follows:
        return envelope  # the call gave the key
    try:
        key = how.lock(lock.job_id, *now).key
    except UniqueKeyError as exc:  # its text shows all arguments, which not everybody may see
        cause = type(exc.__cause__).__name__
        raise ArgumentsRefused(f"no unique key for {task.name} with these arguments: {cause}") from exc
    past = {**history(envelope.headers), UNIQUE: {**lock._replace(key=key).header()}}
    return replace(envelope, headers={**envelope.headers, HISTORY: past})


def _how(services: Services, task: Any, lock: Lock) -> Uniqueness:
    """How the job is unique: by its task, or because its call said so."""
    asked = (
        {}
        if getattr(task, "unique", None)
        else {"unique": "until_started" if lock.until == STARTED else "until_done"}
    )
    found = uniqueness(task.name, task, asked, services.redaction)
    if found is None:
        raise ArgumentsRefused(f"the task {task.name} is not unique any more, and the job is")
    return found


def _name(envelope: Envelope) -> str:
    return str(envelope.headers.get("task") or "")


__all__ = ["Editable", "changed", "check_once", "check_unchanged", "editable", "parameters"]
