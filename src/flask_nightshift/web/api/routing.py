"""The routes of the API declare themselves: address, permission, and the shapes of what they take and answer.

::

    @get("/jobs/<job_id>", JobDetail)
    def job(call: Call) -> Any:
        \"\"\"One job with its attempts.\"\"\"

``serving.py`` checks each request against the declaration, and ``openapi.py`` describes it, so the two cannot differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from msgspec import Struct
from werkzeug.routing import Map, Rule

from ...domain.actor import PERMISSIONS, VIEW
from .call import Run
from .paths import AnyPath

MODULES = ("about", "jobs", "letters", "actions", "queues", "schedule", "locks", "audit")
"""The modules of ``routes/``, in the order of the document."""


@dataclass(frozen=True, slots=True)
class Route:
    """A declared route. ``conflicts``: it may answer 409. ``tag`` is the module that declares it.

    It needs ``permission`` and the permission ``also``. One that acts on what others have begun needs one ``any_of``
    these, and asks for it when it knows which.
    """

    name: str
    method: str
    rule: str
    permission: str | None
    run: Run
    answer: type[Struct] | None
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    conflicts: bool = False
    tag: str = ""
    also: str = ""
    any_of: tuple[str, ...] = ()

    @property
    def acts(self) -> bool:
        """Whether it changes something."""
        return self.method == "POST"

    @property
    def says(self) -> str:
        """What it does, as its docstring says."""
        return inspect.getdoc(self.run) or ""


ROUTES: dict[str, Route] = {}
"""All routes by name, in the order of their declaration."""


def get(
    rule: str, answer: type[Struct] | None, *, query: type[Struct] | None = None, permission: str | None = VIEW,
    conflicts: bool = False,
) -> Callable[[Run], Run]:  # fmt: skip
    """Declare a route that reads."""

    def declare(run: Run) -> Run:
        return _add(
            Route(_name(run), "GET", rule, permission, run, answer, query, None, conflicts, _tag(run))
        )

    return declare


def post(
    rule: str, answer: type[Struct], *, permission: str, body: type[Struct], also: str = "",
    any_of: tuple[str, ...] = (),
) -> Callable[[Run], Run]:  # fmt: skip
    """Declare a route that changes something."""

    def declare(run: Run) -> Run:
        return _add(
            Route(
                _name(run), "POST", rule, permission, run, answer, None, body, True, _tag(run), also, any_of
            )
        )

    return declare


@cache
def table() -> Map:
    """The addresses of all routes."""
    routes()
    rules = [Rule(each.rule, endpoint=each.name, methods=[each.method]) for each in ROUTES.values()]
    return Map(
        rules,
        strict_slashes=False,
        merge_slashes=False,
        redirect_defaults=False,
        converters={"path": AnyPath},
    )


def routes() -> dict[str, Route]:
    """All routes by name."""
    for module in MODULES:
        import_module(f"{__package__}.routes.{module}")
    return ROUTES


def _add(route: Route) -> Run:
    if route.name in ROUTES:
        raise ValueError(f"two routes have the name {route.name!r}")
    for each in (route.permission, route.also or None, *route.any_of):
        if each is not None and each not in PERMISSIONS:
            raise ValueError(f"{each!r} is not a permission")
    ROUTES[route.name] = route
    return route.run


def _name(run: Run) -> str:
    return run.__name__.rstrip("_")


def _tag(run: Run) -> str:
    return run.__module__.rpartition(".")[2]


__all__ = ["ROUTES", "Route", "get", "post", "routes", "table"]
