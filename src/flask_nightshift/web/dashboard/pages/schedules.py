"""Schedules: when each entry runs, in words; what became of its last runs; run now, skip next, pause and resume."""

from __future__ import annotations

from ....observe import schedule as model
from ....observe import workers as fleet
from ....operations import schedule as operations
from ..call import Call, Done, Refused, View, show
from ..routing import Asks, Question, action, page
from ..words import exact


@page("/schedules", title="Schedules", nav="Schedules")
def schedules(call: Call) -> View:
    """All entries, the app's own first."""
    entries = sorted(model.seen(call.services), key=lambda entry: (entry.ours, entry.name))
    return show("schedules.html", entries=entries, beat=fleet.beat(call.services, call.now))


@page("/schedules/entry", title="Entry of the schedule")
def schedule(call: Call) -> View:
    """One entry: its next and its last runs. Its name is in the query, because it may be any text."""
    entry = model.one(call.services, _name(call))
    return show("schedule.html", entry=entry, beat=fleet.beat(call.services, call.now), section="schedules")


def _name(call: Call) -> str:
    """The name of the entry, as it is: also space around it is part of it."""
    source = call.request.form if call.request.method == "POST" else call.request.args
    name = source.get("name", "")
    if not name:
        raise Refused(400, "Which entry?", "Choose one on the page of schedules.")
    return name


def _about(call: Call) -> str:
    return f"entry {_name(call)}"


def _asks(said: str, verb: str) -> Asks:
    """A question about the entry, whose name stands for ``{}`` in ``said``."""
    return lambda call: Question(said.format(_name(call)), verb, _back(call, _name(call)), "primary")


@action(
    "/schedules/run",
    permission="run",
    about=_about,
    asks=_asks("Enqueue the job of {} now? Its due times stay.", "Enqueue it now"),
    at_once=True,
)
def run_entry(call: Call) -> Done:
    """Enqueue the entry's job now; its due times stay."""
    name = _name(call)
    job_id = operations.run_now(call.services, name)
    return _done(call, name, f"{name} is enqueued as the job {job_id}.")


@action(
    "/schedules/skip",
    permission="pause",
    verb="skip",
    about=_about,
    asks=_asks("Leave out the next run of {}?", "Leave it out"),
    at_once=True,
)
def skip_entry(call: Call) -> Done:
    """Leave out the entry's next run."""
    name = _name(call)
    due = operations.skip_next(call.services, name)
    return _done(call, name, f"The run of {name} due at {exact(due)} is left out.")


@action(
    "/schedules/pause",
    permission="pause",
    about=_about,
    asks=_asks("Pause {}? None of its jobs is enqueued until somebody resumes it.", "Pause it"),
    at_once=True,
)
def pause_entry(call: Call) -> Done:
    """Enqueue no job of the entry until it is resumed."""
    name = _name(call)
    operations.pause(call.services, [name], by=call.actor.name)
    return _done(call, name, f"{name} is paused.")


@action(
    "/schedules/resume",
    permission="pause",
    verb="resume",
    about=_about,
    asks=_asks("Let {} run again as its schedule says?", "Resume it"),
    at_once=True,
)
def resume_entry(call: Call) -> Done:
    """Take back a pause, and runs that were to be left out."""
    name = _name(call)
    changed = operations.resume(call.services, [name])[name]
    said = f"{name} runs again as its schedule says." if changed else f"{name} was not paused."
    return _done(call, name, said, good=changed)


def _done(call: Call, name: str, said: str, *, good: bool = True) -> Done:
    return Done(said=said, to=_back(call, name), count=int(good), good=good)


def _back(call: Call, name: str) -> str:
    return call.url("schedule", name=name) if call.text("back") == "entry" else call.url("schedules")


__all__ = ["pause_entry", "resume_entry", "run_entry", "schedule", "schedules", "skip_entry"]
