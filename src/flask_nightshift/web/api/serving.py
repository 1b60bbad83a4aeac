"""Answers a request: who asks, what for, whether that is allowed, what was said, and then the route.

Only a bearer token opens the API, never a cookie, so a browser cannot be made to send one. Strangers learn nothing, not
even which addresses exist (invariant 10). Every error is ``application/problem+json``.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from flask import Request, Response, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from ... import services
from ...domain.actor import EDIT, REPLAY, RUN, Actor
from ...domain.job import utcnow
from ...errors import BrokerUnavailable, DatabaseUnavailable, NightshiftError
from ...operations import tokens
from ...text.printable import as_json
from . import problems, reading, repeats, routing
from .call import ALSO, Call
from .problems import Problem
from .routing import Route

logger = logging.getLogger("flask_nightshift.http")

_PUBLISH = (REPLAY, EDIT, RUN)
"""The permissions of routes that enqueue jobs."""
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Authorization"}


def serve(path: str) -> Response:
    """The answer to the request at ``path`` below the API's prefix; never raises."""
    try:
        response = _answer(f"/{path}", request)
    except Problem as exc:
        response = problems.answer(exc)
    except NightshiftError as exc:
        response = problems.answer(problems.of_error(exc))
    except Exception:
        logger.exception("http.api_failed", extra={"path": path[:200], "method": request.method[:20]})
        response = problems.answer(Problem(500, "error", "the log of the web process has the traceback"))
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _answer(path: str, asked: Request) -> Response:
    current = services.current()
    token, actor = _bearer(current, asked)
    route, values = _route(path, asked.method)
    call = Call(current, actor, utcnow(), values)
    if route.permission is not None:
        call.needs(route.permission)
    if route.also:
        call.needs(route.also, ALSO[route.also])
    found = reading.query(route, asked.args)
    call = Call(current, actor, call.now, values, found, reading.body(route, asked))
    key = asked.headers.get(repeats.HEADER)
    if key is None or not route.acts:
        return _json(as_json(plain(route.run(call)), ascii_only=True))
    return _once(call, route, token, key, asked)


def _once(call: Call, route: Route, token: str, key: str, asked: Request) -> Response:
    if route.permission in _PUBLISH:
        call.services.broker.health()  # an outage is told before the row, so the request may be repeated
    what = b"\0".join((asked.path.encode(), asked.get_data()))
    first = repeats.begin(call.services, token, key, what, call.now)
    if isinstance(first, repeats.Repeat):
        return _json(first.body, Idempotency_Replayed="true")
    try:
        text = as_json(plain(route.run(call)), ascii_only=True)
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        first.keep(repeats.UNKNOWN, str(exc))
        raise
    except (NightshiftError, Problem):
        first.forget()
        raise
    first.keep(200, text)
    return _json(text)


def _bearer(current: services.Services, asked: Request) -> tuple[str, Actor]:
    kind, _, given = asked.headers.get("Authorization", "").partition(" ")
    try:
        found = tokens.bearer(current, given.strip()) if kind.lower() == "bearer" else None
    except DatabaseUnavailable:
        raise Problem(
            503, "database-unavailable", "try again later", Retry_After=problems.RETRY_AFTER
        ) from None
    if found is None:
        way = "send a token in the header 'Authorization: Bearer …'; 'flask jobs token create' makes one"
        raise Problem(401, "unauthorized", way, WWW_Authenticate='Bearer realm="nightshift"')
    return found


def _route(path: str, method: str) -> tuple[Route, dict[str, str]]:
    try:
        name, values = routing.table().bind("").match(path, "GET" if method == "HEAD" else method)
    except MethodNotAllowed as exc:
        allowed = ", ".join(sorted(exc.valid_methods or ()))
        raise Problem(405, "method-not-allowed", f"this address takes {allowed}", Allow=allowed) from None
    except NotFound:
        raise Problem(404, "not-found", "openapi.json lists all addresses") from None
    if any("\0" in value for value in values.values()):
        raise Problem(404, "not-found", "no name contains a NUL character")
    return routing.ROUTES[name], dict(values)


def plain(value: Any) -> Any:
    """``value`` with times as ISO 8601, and null for a number that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value


def _json(text: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(text, 200, named, content_type="application/json")


__all__ = ["plain", "serve"]
