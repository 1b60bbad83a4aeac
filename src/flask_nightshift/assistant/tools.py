"""The tools: each is a route of the HTTP API, with its parameters and members as arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import ValidationError, convert

from ..domain.actor import VIEW, Actor
from ..domain.job import utcnow
from ..errors import NightshiftError
from ..services import Services
from ..text.passwords import hide_password
from ..text.printable import as_json
from ..web.api import openapi, routing, serving
from ..web.api.call import Call
from ..web.api.problems import Problem
from ..web.api.routing import Route
from .strangers import NOTICE, marked, quoted, unmarked

_NOT_TOOLS = ("me", "openapi")
MOST_CHARACTERS = 60_000
"""Characters of an answer; an assistant reads no more."""
FEW = 20
"""The default of a list's limit."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: ``schema`` is the JSON schema of its arguments."""

    name: str
    says: str
    schema: dict[str, Any]
    reads: bool
    route: Route


class Refused(Exception):
    """The tool did nothing, or not all; the text says why, and what it had done before."""


def tools(allowed: Iterable[str]) -> dict[str, Tool]:
    """The tools that read, and those whose permissions are ``allowed``."""
    may = {*allowed, VIEW}
    every = (each for each in routing.routes().values() if each.name not in _NOT_TOOLS)
    return {each.name: _tool(each) for each in every if _offered(each, may)}


def _offered(route: Route, may: set[str]) -> bool:
    needed = {route.permission, route.also} - {""}
    return needed <= may and (not route.any_of or not may.isdisjoint(route.any_of))


def call(services: Services, tool: Tool, given: Mapping[str, Any], actor: Actor) -> str:
    """What the tool answers, as JSON; raises ``Refused``."""
    route = tool.route
    for name in given:
        if name not in tool.schema["properties"]:
            raise Refused(
                f"{tool.name} has no argument {name[:80]!r}; it has {', '.join(tool.schema['properties'])}"
            )
    given = {name: unmarked(value) for name, value in given.items()}
    path: dict[str, str] = {}
    for name in openapi.names(route):
        value = given.get(name)
        if not isinstance(value, str) or not value:
            raise Refused(f"{tool.name} needs {name!r}, a text")
        path[name] = value
    rest = {name: value for name, value in given.items() if name not in path and value is not None}
    if "limit" in tool.schema["properties"]:
        rest.setdefault("limit", FEW)
    try:
        query = convert(rest, route.query) if route.query is not None else None
        body = convert(rest, route.body) if route.body is not None else None
        found = route.run(Call(services, actor, utcnow(), path, query, body))
    except ValidationError as exc:
        raise Refused(str(exc)) from None
    except Problem as exc:
        raise Refused(exc.detail) from None
    except NightshiftError as exc:
        raise Refused(_said(exc)) from None
    return f"{NOTICE}\n{_cut(as_json(marked(serving.plain(found))))}"


def _said(exc: BaseException) -> str:
    """What happened, and apart from it what was done before, so that a long error does not hide that."""
    notes = " ".join(getattr(exc, "__notes__", ()))
    texts = (str(exc) or type(exc).__name__, notes)
    return " ".join(quoted(hide_password(text)) for text in texts if text)


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n(cut here, of {len(text):,} characters: ask for fewer with limit, or for one)"


def _tool(route: Route) -> Tool:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    properties: dict[str, Any] = {name: {"type": "string"} for name in openapi.names(route)}
    required = list(properties)
    properties |= openapi.properties(route.query) | openapi.properties(route.body)
    required += openapi.required(route.body)
    return Tool(
        route.name,
        route.says,
        schema | {"properties": properties, "required": required},
        not route.acts,
        route,
    )


__all__ = ["FEW", "MOST_CHARACTERS", "Refused", "Tool", "call", "tools"]
