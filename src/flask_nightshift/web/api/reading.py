"""Reads what a request says, and refuses what is not declared: nothing that a client says is ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

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
        return convert(given.to_dict(), route.query, strict=False)
    except ValidationError as exc:
        known = ", ".join(route.query.__struct_encode_fields__)
        raise Problem(422, "invalid-query", f"{_told(exc)}. The parameters are {known}") from None


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


def _checked(value: Any, shape: type[Struct]) -> Any:
    try:
        return convert(value, shape)
    except ValidationError as exc:
        known = ", ".join(shape.__struct_encode_fields__)
        raise Problem(422, "invalid-body", f"{_told(exc)}. The members are {known}") from None


def _told(exc: ValidationError) -> str:
    what, _, where = str(exc).partition(" - at ")
    place = where.strip("`").removeprefix("$.")
    return f"{place}: {what}" if place and place != "$" else what


__all__ = ["MOST_BYTES", "body", "query", "time"]
