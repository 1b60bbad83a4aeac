"""The OpenAPI 3.1 document, made from the declarations of the routes and from their shapes."""

from __future__ import annotations

import inspect
import re
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from msgspec import Struct, json

from . import problems, repeats, routing
from .paths import PATH
from .routing import Route

_REF = "#/components/schemas/{name}"
_VALUE = re.compile(r"<(?:path:)?(\w+)>")
_ALWAYS = (401, 405, 422, 500, 503)
_TAGS = {
    "about": "The system as a whole",
    "jobs": "Jobs",
    "letters": "Dead letters",
    "queues": "Queues",
    "schedule": "The schedule",
    "locks": "Locks of unique jobs",
    "audit": "Who did what",
    "actions": "Actions on all jobs or dead letters that match",
}


@lru_cache(maxsize=8)
def document(prefix: str) -> dict[str, Any]:
    """The document of an API whose addresses begin with ``prefix``, and then with the version."""
    every = routing.routes().values()
    found: dict[str, dict[str, Any]] = {}
    for route in every:
        found.setdefault(_VALUE.sub(r"{\1}", route.rule), {})[route.method.lower()] = _operation(route)
    tags = dict.fromkeys(route.tag for route in every)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flask-Nightshift",
            "version": version("Flask-Nightshift"),
            "description": "Look at background jobs, and act on them: what the dashboard and `flask jobs` do.",
        },
        "servers": [{"url": prefix + PATH}],
        "security": [{"token": []}],
        "tags": [{"name": tag, "description": _TAGS[tag]} for tag in tags],
        "paths": found,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`flask jobs token create` makes one.",
                }
            },
        },
    }


@cache
def schemas() -> dict[str, Any]:
    """The JSON schema of each shape, by name."""
    shapes: list[type[Struct]] = [problems.ProblemShape]
    for route in routing.routes().values():
        shapes += [each for each in (route.answer, route.body) if each is not None and each not in shapes]
    _, found = json.schema_components(shapes, ref_template=_REF)
    return {name: _tidy(schema) for name, schema in sorted(found.items())}


def names(route: Route) -> list[str]:
    """The names in the address of ``route``."""
    return _VALUE.findall(route.rule)


def required(shape: type[Struct] | None) -> list[str]:
    """The members that ``shape`` must have."""
    if shape is None:
        return []
    _, found = json.schema_components([shape], ref_template=_REF)
    members: list[str] = found[shape.__name__]["required"]
    return members


def parameters(route: Route) -> list[dict[str, Any]]:
    """The parameters in the address and in the query."""
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names(route)
    ]
    for name, schema in properties(route.query).items():
        about = schema.pop("description", "")
        found.append({"name": name, "in": "query", "required": False, "description": about, "schema": schema})
    return found


def properties(shape: type[Struct] | None) -> dict[str, dict[str, Any]]:
    """The members of a query, without null, which a query cannot say."""
    if shape is None:
        return {}
    _, found = json.schema_components([shape], ref_template=_REF)
    members = found[shape.__name__]["properties"]
    return {name: _without_null(dict(schema)) for name, schema in members.items()}


def _operation(route: Route) -> dict[str, Any]:
    said = route.says
    needs = f"Needs the permission `{route.permission}`." if route.permission else "Any token may ask."
    if route.also:
        needs = f"Needs the permissions `{route.permission}` and `{route.also}`."
    made: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": said.partition("\n")[0],
        "description": f"{said}\n\n{needs}",
        "parameters": [*parameters(route), *([_key()] if route.acts else [])],
        "responses": {
            "200": _answer(route),
            **{str(status): _problem(status) for status in _statuses(route)},
        },
    }
    if route.body is not None:
        content = {"application/json": {"schema": {"$ref": _REF.format(name=route.body.__name__)}}}
        made["requestBody"] = {"required": bool(required(route.body)), "content": content}
    return made


def _statuses(route: Route) -> list[int]:
    found = [*_ALWAYS]
    found += [403] if route.permission is not None else []
    found += [404] if "<" in route.rule or route.acts else []
    found += [400, 413, 415] if route.body is not None else [413]
    found += [409] if route.conflicts else []
    return sorted(found)


def _answer(route: Route) -> dict[str, Any]:
    schema = {"type": "object"} if route.answer is None else {"$ref": _REF.format(name=route.answer.__name__)}
    return {
        "description": "Done." if route.acts else "Found.",
        "content": {"application/json": {"schema": schema}},
    }


def _problem(status: int) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(name=problems.ProblemShape.__name__)}}}
    return {"description": f"{problems.TITLES[status]}.", "content": content}


def _key() -> dict[str, Any]:
    return {
        "name": repeats.HEADER,
        "in": "header",
        "required": False,
        "description": "A key of your own. A request that repeats it within a day is not done again: it gets the "
        "first answer, with the header `Idempotency-Replayed: true`.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": repeats.MOST_CHARACTERS,
            "pattern": "^[!-~]([ -~]*[!-~])?$",
        },
    }


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    if "description" in schema:
        return schema | {"description": inspect.cleandoc(schema["description"])}
    return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        kinds = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
        schema = {**kinds[0], **schema} if len(kinds) == 1 else {"anyOf": kinds, **schema}
    if schema.get("default", "") is None:
        del schema["default"]
    return schema


__all__ = ["document", "names", "parameters", "properties", "required", "schemas"]
