"""Change the arguments of a job before it is replayed, and enqueue a job again or a changed copy of it."""

from __future__ import annotations

from collections.abc import Callable

from ....errors import ArgumentsRefused, DuplicateJob
from ....operations import changing, copies, dead_letters
from ....operations.changing import Editable
from ....operations.copies import Copy
from ....operations.dead_letters import Result
from ..call import Call, Done, Refused, View, show
from ..routing import action, page


@page("/letters/edit", title="Edit and replay", permission="edit")
def edit_letter(call: Call) -> View:
    """A form with the arguments of a dead letter."""
    return _letter_form(call)


@action("/letters/replay-changed", permission="edit")
def replay_changed(call: Call) -> Done | View:
    """Replay the letter ``letter_id`` with the arguments of the form."""
    given = _given(call, "letter_id")
    try:
        result = dead_letters.replay_changed(
            call.services, given, args=call.text("args"), kwargs=call.text("kwargs"), queue=_queue(call)
        )
    except ArgumentsRefused as exc:
        return _letter_form(call, f"{exc}")
    if result.skipped:
        return _letter_form(call, _why(result))
    said = "The job runs again, with the arguments that you gave."
    return Done(said=said, to=call.url("letter", letter_id=given), target=f"dead letter {given}")


@page("/copy", title="Enqueue again", permission="run")
def copy_job(call: Call) -> View:
    """A form to enqueue a job again, as it was or changed."""
    return _copy_form(call)


@action("/copy/again", permission="run")
def enqueue_again(call: Call) -> Done | View:
    """Enqueue a copy of the job ``job_id``."""
    try:
        made = copies.enqueue(call.services, _given(call, "job_id"), queue=_queue(call))
    except (ArgumentsRefused, DuplicateJob) as exc:
        return _copy_form(call, f"{exc}")
    return _enqueued(call, made)


@action("/copy/changed", permission="edit")
def enqueue_changed(call: Call) -> Done | View:
    """Enqueue a copy of the job ``job_id`` with the arguments of the form."""
    given = _given(call, "job_id")
    try:
        made = copies.enqueue(
            call.services, given, args=call.text("args"), kwargs=call.text("kwargs"), queue=_queue(call)
        )
    except (ArgumentsRefused, DuplicateJob) as exc:
        return _copy_form(call, f"{exc}")
    return _enqueued(call, made)


def _enqueued(call: Call, made: Copy) -> Done:
    said = "The copy is enqueued; this is the new job."
    if made.left:
        said += " It is no part of the original's group or chord."
    target = f"job {made.job_id}, a copy of {made.original_id}"
    return Done(said=said, to=call.url("job", job_id=made.job_id), target=target)


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
    editable, problem = _editable(call, lambda: copies.editable(call.services, original), problem)
    return show(
        "copy_job.html",
        status=400 if problem and call.request.method == "POST" else 200,
        section="jobs",
        original=original,
        task=original.task,
        parameters=changing.parameters(call.services, original.task),
        editable=editable if call.may("edit") else None,
        problem=problem,
        queue=call.text("queue"),
        queues=call.services.queues(),
        **_texts(call, editable),
    )


def _editable(call: Call, ask: Callable[[], Editable], problem: str) -> tuple[Editable | None, str]:
    """The arguments to change, or None and why they cannot be changed."""
    if not call.may("view_args"):
        return (
            None,
            problem or "Whoever changes arguments has to see them: you need the permission view_args.",
        )
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


def _why(result: Result) -> str:
    return f"It was not replayed: {'; '.join(result.skipped.values())}"


def _queue(call: Call) -> str | None:
    return call.text("queue") or None


def _given(call: Call, name: str) -> str:
    if not (given := call.text(name)):
        raise Refused(400, "Which one?", f"The form has no {name}.")
    return given
