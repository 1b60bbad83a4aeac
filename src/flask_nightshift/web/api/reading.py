"""Reads what a request says, and refuses what is not declared: nothing that a client says is ignored."""

from __future__ import annotations

import json as jsons
from datetime import datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

from flask import Request
from msgspec import DecodeError, Struct, ValidationError, convert, json
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from ...text.moments import moment
from .call import Call
from .problems import Problem
from .routing import Route

MOST_BYTES = 1_048_576
"""Bytes of a body."""


def query(route: Route, given: MultiDict[str, str]) -> Any:
    """The query as the route's shape; raises ``Problem``."""
    for name, values in given.lists():
        if len(values) > 1:
            raise Problem(422, "invalid-query", f"{name!r} is given {len(values)} times; give it once")
        if "\0" in name + values[0]:
            raise Problem(422, "invalid-query", f"{name!r} contains a NUL character; leave it out")
    if route.query is None:
        for name in given:
            raise Problem(422, "invalid-query", f"there is no parameter {name!r} here: it takes none")
        return None
    try:
        found = convert(given.to_dict(), route.query, strict=False)
    except ValidationError as exc:
        known = ", ".join(route.query.__struct_encode_fields__)
        raise Problem(
            422, "invalid-query", f"{_told(exc, route.query)}. The parameters are {known}"
        ) from None
    for name in given:  # msgspec reads the text "null" as nothing, and a condition would be ignored
        if getattr(found, name) is None:
            allowed = _choices(get_type_hints(route.query, include_extras=True).get(name))
            way = f"use one of {', '.join(allowed)}, or leave it out" if allowed else "leave it out"
            raise Problem(422, "invalid-query", f"{name}: {given[name]!r} is not usable; {way}")
    return found


def body(route: Route, asked: Request) -> Any:
    """The body as the route's shape; raises ``Problem``. Without a required member, it may be left out."""
    asked.max_content_length = MOST_BYTES
    try:
        raw = asked.get_data()
    except RequestEntityTooLarge:
        raise Problem(413, "too-large", f"a body has at most {MOST_BYTES:,} bytes") from None
    if route.body is None:
        if raw:
            raise Problem(422, "invalid-body", f"{route.method} takes no body here; leave it out")
        return None
    if not raw:
        return _checked({}, route.body)
    if asked.mimetype != "application/json":
        given = asked.mimetype[:80]
        raise Problem(415, "not-json", f"Content-Type is {given!r}; send application/json")
    try:
        return _checked(json.decode(raw), route.body)
    except (DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Problem(400, "malformed", f"the body is not JSON: {exc}") from None


def time(call: Call, name: str, text: str | None) -> datetime | None:
    """The time that ``text``, the parameter ``name``, means; raises ``Problem``."""
    try:
        return None if text is None else moment(text, call.now)
    except ValueError as exc:
        raise Problem(422, "invalid-query", f"{name}: {exc}") from None


def changed_arguments(call: Call, unchanged: str) -> dict[str, str | None]:
    """The members ``args`` and ``kwargs`` of the body as JSON texts; raises ``Problem`` without either.

    ``unchanged`` says which route takes none.
    """
    found = {name: getattr(call.body, name) for name in ("args", "kwargs")}
    if not any(value is not None for value in found.values()):
        raise Problem(422, "invalid-body", f"give args, kwargs, or both; {unchanged}")
    return {name: None if value is None else jsons.dumps(value) for name, value in found.items()}


def _checked(value: Any, shape: type[Struct]) -> Any:
    try:
        return convert(value, shape)
    except ValidationError as exc:
        known = ", ".join(shape.__struct_encode_fields__)
        raise Problem(422, "invalid-body", f"{_told(exc, shape)}. The members are {known}") from None


def _told(exc: ValidationError, shape: type[Struct]) -> str:
    what, _, where = str(exc).partition(" - at ")
    place = where.strip("`").removeprefix("$.")
    if what.startswith("Invalid enum value") and (allowed := _choices(get_type_hints(shape).get(place))):
        what = f"{what}; use one of {', '.join(allowed)}"
    return f"{place}: {what}" if place and place != "$" else what


def _choices(kind: Any) -> list[str]:
    """The texts that a value of ``kind`` can be, if they are a few."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [text for each in get_args(kind) for text in _choices(each)]


__all__ = ["MOST_BYTES", "body", "changed_arguments", "query", "time"]
