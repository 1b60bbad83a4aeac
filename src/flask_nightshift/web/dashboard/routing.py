"""Pages and actions declare themselves here, so that the checks of a route cannot be forgotten.

::

    @page("/queues", title="Queues", nav="Queues")
    def queues(call: Call) -> View:
        return show("queues.html", queues=…)

    @action("/queues/pause", permission="pause", about=lambda call: f"queue {call.text('queue')}")
    def pause_queue(call: Call) -> Done:
        pauses.pause(call.services, [call.text("queue")], reason=call.reason, by=call.actor.name)
        return Done(said=…, to=call.url("queues"))

Every action takes a reason: its form has the field ``why``, or it ``asks`` for one on a page of its own. ``serving.py``
calls a page only for an actor with its permission, and an action only for a POST that also has our token and comes from
our own pages. The audit gets a row for each action, before it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from flask import Response
from werkzeug.routing import Map, Rule

from ...domain.actor import PERMISSIONS
from .call import Call, Done, View

Shows = TypeVar("Shows", bound=Callable[..., View | Response])
Acts = TypeVar("Acts", bound=Callable[..., Done | View | Response])
Answers = TypeVar("Answers", bound=Callable[..., Response])
About = Callable[[Call], str]
Again = Callable[[Call, str], View]


@dataclass(frozen=True, slots=True)
class Question:
    """What a page of its own asks before an action: the text, the words of the button, and where "no" leads.

    ``tone`` is the button's: ``bad`` for what is not taken back.
    """

    said: str
    verb: str
    back: str
    tone: str = "bad"


Asks = Callable[[Call], Question]

MODULES = (
    "overview", "jobs", "job", "tasks", "letters", "letter", "editing", "delayed", "schedules", "queues", "workers",
    "locks", "bulk", "audit",
)  # fmt: skip
"""The modules of ``pages/``, in the order of the navigation."""


class Kind(Enum):
    """Who may call a route: anybody (OPEN), or an actor, with the checks of a page or an action."""

    OPEN = "open"
    PAGE = "page"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class Route:
    """A declared route; ``permission`` is empty only where ``kind`` is OPEN.

    The audit calls an action ``verb``, and what it acts on ``about``; without ``about`` its operation writes the row of
    the audit itself. ``again`` shows its form again, with what was wrong. ``asks`` is its question; with ``at_once``
    it is asked only on request.
    """

    name: str
    rule: str
    methods: tuple[str, ...]
    kind: Kind
    permission: str
    run: Callable[..., Any]
    title: str = ""
    nav: str = ""
    verb: str = ""
    about: About | None = None
    again: Again | None = None
    asks: Asks | None = None
    at_once: bool = False


ROUTES: dict[str, Route] = {}
"""All declared routes by name, in the order of their declaration."""


def page(
    rule: str, *, title: str, nav: str = "", permission: str = "view", name: str = ""
) -> Callable[[Shows], Shows]:
    """Declare a page at ``rule``; ``nav`` is its word in the navigation. Its name is the function's, or ``name``."""

    def declare(run: Shows) -> Shows:
        _add(Route(name or run.__name__, rule, ("GET",), Kind.PAGE, permission, run, title, nav))
        return run

    return declare


def action(
    rule: str,
    *,
    permission: str,
    about: About | None = None,
    recorded: bool = False,
    verb: str = "",
    name: str = "",
    again: Again | None = None,
    asks: Asks | None = None,
    at_once: bool = False,
) -> Callable[[Acts], Acts]:
    """Declare a change, a POST to ``rule`` by an actor with ``permission``.

    The audit calls it ``verb`` (default: the permission). ``about`` says on what it acts, as the form names it, and
    raises ``Refused`` for a form that is not usable; then there is no row. ``recorded``: the operation writes the row
    itself, so there is no ``about``. ``again`` shows the form again after ``ArgumentsRefused`` or ``DuplicateJob``.
    ``asks`` is asked on a page of its own, with a field for the reason, unless the form has ``asked``; it raises
    ``Refused``, too. An action that is done ``at_once`` asks only if the form has ``ask``, which ``ui.act`` offers.
    """
    if recorded is (about is not None):
        raise RuntimeError(f"{rule}: say either what it is about, or that its operation records it")
    if at_once and asks is None:
        raise RuntimeError(f"{rule}: say what it asks of those who want to give a reason")

    def declare(run: Acts) -> Acts:
        kind, called = Kind.ACTION, verb or permission
        _add(
            Route(
                name or run.__name__,
                rule,
                ("POST",),
                kind,
                permission,
                run,
                verb=called,
                about=about,
                again=again,
                asks=asks,
                at_once=at_once,
            )
        )
        return run

    return declare


def opened(rule: str) -> Callable[[Answers], Answers]:
    """Declare a route that strangers may use: static files, and the way in."""

    def declare(run: Answers) -> Answers:
        _add(Route(run.__name__, rule, ("GET",), Kind.OPEN, "", run))
        return run

    return declare


def _add(route: Route) -> None:
    if route.name in ROUTES:
        raise RuntimeError(f"two routes of the dashboard are called {route.name!r}")
    if route.kind is not Kind.OPEN and route.permission not in PERMISSIONS:
        raise RuntimeError(f"{route.name!r} needs a permission that does not exist: {route.permission!r}")
    ROUTES[route.name] = route


@cache
def table() -> Map:
    """The map of all routes, whose endpoints are their names; imports the pages."""
    for module in ("opening", *(f"pages.{name}" for name in MODULES)):
        import_module(f".{module}", __package__)
    rules = [
        Rule(route.rule, endpoint=route.name, methods=set(route.methods), strict_slashes=True)
        for route in ROUTES.values()
    ]
    return Map(rules, merge_slashes=False)


__all__ = ["ROUTES", "Kind", "Route", "action", "opened", "page", "table"]
