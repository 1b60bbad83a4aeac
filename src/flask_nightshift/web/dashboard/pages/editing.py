"""Change the arguments of a job before it is replayed, and enqueue a job again or a changed copy of it."""

from __future__ import annotations

from collections.abc import Callable

from ....domain.actor import VIEW_ARGS
from ....errors import ArgumentsRefused
from ....operations import audit, changing, copies, dead_letters
from ....operations.changing import Editable
from ....operations.copies import Copy
from ....operations.dead_letters import Result
from ..call import Call, Done, Refused, View, show
from ..routing import action, page

_NOT_SEEN = "Whoever changes arguments has to see them: you need the permission view_args."


def _letter_form(call: Call, problem: str = "") -> View:
    given = _given(call, "letter_id")
    found = dead_letters.find(call.services, given)
    editable, problem = _editable(call, lambda: dead_letters.editable(call.services, given), problem)
    return show(
        "edit_letter.html",
        status=400 if problem and call.request.method == "POST" else 200,
        section="letters",
        found=found,
        task=found.letter.task,
        parameters=changing.parameters(call.services, found.letter.task),
        editable=editable,
        problem=problem,
        queue=call.text("queue"),
        queues=call.services.queues(),
        **_texts(call, editable),
    )


def _copy_form(call: Call, problem: str = "") -> View:
    original = copies.original(call.services, _given(call, "job_id"))
    editable = None
    if call.may("edit"):
        editable, problem = _editable(call, lambda: copies.editable(call.services, original), problem)
    return show(
        "copy_job.html",
        status=400 if problem and call.request.method == "POST" else 200,
        section="jobs",
        original=original,
        task=original.task,
        parameters=changing.parameters(call.services, original.task),
        editable=editable,
        problem=problem,
        queue=call.text("queue"),
        queues=call.services.queues(),
        **_texts(call, editable),
    )


def _editable(call: Call, ask: Callable[[], Editable], problem: str) -> tuple[Editable | None, str]:
    """The arguments to change, or None and why they cannot be changed."""
    if not call.may(VIEW_ARGS):
        return None, problem or _NOT_SEEN
    try:
        return ask(), problem
    except ArgumentsRefused as exc:
        return None, problem or f"{exc}"


def _texts(call: Call, editable: Editable | None) -> dict[str, str]:
    """What the fields contain: what was typed, or what the job has."""
    posted = call.request.method == "POST" and "args" in call.request.form
    if editable is None:
        return {"args": "", "kwargs": ""}
    args, kwargs = (call.text("args"), call.text("kwargs")) if posted else (editable.args, editable.kwargs)
    return {"args": args, "kwargs": kwargs}


def _given(call: Call, name: str) -> str:
    if not (given := call.text(name)):
        raise Refused(400, "Which one?", f"The form has no {name}.")
    return given


def _letter(call: Call) -> str:
    _sees_arguments(call)
    return audit.named("dead letter", [_given(call, "letter_id")])


def _changed_copy(call: Call) -> str:
    _sees_arguments(call)
    return _copy(call)


def _sees_arguments(call: Call) -> None:
    if not call.may(VIEW_ARGS):
        raise Refused(403, "You may not do this", _NOT_SEEN)


def _copy(call: Call) -> str:
    return f"a copy of job {_given(call, 'job_id')}"


@page("/letters/edit", title="Edit and replay", permission="edit")
def edit_letter(call: Call) -> View:
    """A form with the arguments of a dead letter."""
    return _letter_form(call)


@action("/letters/replay-changed", permission="edit", about=_letter, again=_letter_form)
def replay_changed(call: Call) -> Done | View:
    """Replay the letter ``letter_id`` with the arguments of the form."""
    given = _given(call, "letter_id")
    result = dead_letters.replay_changed(
        call.services,
        given,
        args=call.text("args"),
        kwargs=call.text("kwargs"),
        queue=_queue(call),
        unchanged=call.may("replay"),
    )
    if result.skipped:
        return _letter_form(call, _why(result))
    said = "The job runs again, with the arguments that you gave."
    return Done(said=said, to=call.url("letter", letter_id=given))


@page("/copy", title="Enqueue again", permission="run")
def copy_job(call: Call) -> View:
    """A form to enqueue a job again, as it was or changed."""
    return _copy_form(call)


@action("/copy/again", permission="run", about=_copy, again=_copy_form)
def enqueue_again(call: Call) -> Done:
    """Enqueue a copy of the job ``job_id``."""
    return _enqueued(call, copies.enqueue(call.services, _given(call, "job_id"), queue=_queue(call)))


@action("/copy/changed", permission="edit", about=_changed_copy, again=_copy_form)
def enqueue_changed(call: Call) -> Done:
    """Enqueue a copy of the job ``job_id`` with the arguments of the form."""
    made = copies.enqueue(
        call.services,
        _given(call, "job_id"),
        args=call.text("args"),
        kwargs=call.text("kwargs"),
        queue=_queue(call),
        unchanged=call.may("run"),
    )
    return _enqueued(call, made)


def _enqueued(call: Call, made: Copy) -> Done:
    said = "The copy is enqueued; this is the new job."
    if made.left:
        said += " It is no part of the original's group or chord."
    target = f"job {made.job_id}, a copy of {made.original_id}"
    return Done(said=said, to=call.url("job", job_id=made.job_id), target=target)


def _why(result: Result) -> str:
    return f"It was not replayed: {'; '.join(result.skipped.values())}"


def _queue(call: Call) -> str | None:
    return call.text("queue") or None
