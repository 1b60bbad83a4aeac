"""Answers every error of a request as JSON: ``{"error": {"message", …}}``."""

from __future__ import annotations

import math
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from flask_nightshift.errors import BrokerUnavailable, DatabaseUnavailable

log = structlog.get_logger(__name__)
MAX_SHOWN = 200
"""The maximum number of characters of a wrong value in the answer."""


class BadInput(Exception):
    """A field of the request is wrong. ``remedy`` says what to send instead."""

    def __init__(self, field: str, value: Any, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}")
        self.field = field
        plain = isinstance(value, (int, type(None))) or (isinstance(value, float) and math.isfinite(value))
        self.value = value if plain else str(value)[:MAX_SHOWN]
        self.remedy = remedy


class TooOften(Exception):
    """The client asked too often; ``retry_after``: seconds until it may ask again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = math.ceil(retry_after)


def brief(exc: Exception) -> str:
    """A database error for logs: its type and first line, without the statement, its values and quoted rows."""
    said = str(getattr(exc, "orig", None) or exc)
    return f"{type(exc).__name__}: {said.strip().splitlines()[0] if said.strip() else ''}"


def init_app(app: Flask) -> None:
    """Register the error handlers."""
    app.register_error_handler(BadInput, _bad_input)
    app.register_error_handler(TooOften, _too_often)
    app.register_error_handler(BrokerUnavailable, _broker_unavailable)
    for kind in (DatabaseUnavailable, OperationalError, InterfaceError):
        app.register_error_handler(kind, _database_unavailable)
    app.register_error_handler(HTTPException, _http)


def _bad_input(exc: BadInput) -> tuple[Response, int]:
    return _error(
        400, f"{exc.field} = {exc.value!r}: {exc.remedy}", field=exc.field, value=exc.value, remedy=exc.remedy
    )


def _too_often(exc: TooOften) -> tuple[Response, int]:
    return _later(exc.retry_after, str(exc), 429)


def _broker_unavailable(exc: BrokerUnavailable) -> tuple[Response, int]:
    log.warning("request.no_broker", error=str(exc))
    return _later(
        exc.retry_after, "The broker does not answer, so the job is not queued. Send it again soon."
    )


def _database_unavailable(exc: Exception) -> tuple[Response, int]:
    log.warning("request.no_database", error=brief(exc))
    return _later(5, "The database does not answer. Send it again soon.")


def _later(seconds: int, message: str, status: int = 503) -> tuple[Response, int]:
    response, status = _error(status, message)
    response.headers["Retry-After"] = str(seconds)
    return response, status


def _http(exc: HTTPException) -> Response | tuple[Response, int]:
    if exc.response is not None or exc.code is None or exc.code < 400:
        return exc.get_response()  # type: ignore[return-value]  # a redirect, say
    response, status = _error(exc.code, exc.description or exc.name)
    for name, value in exc.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response, status


def _error(status: int, message: str, **more: Any) -> tuple[Response, int]:
    return jsonify(error={"message": message, **more}), status
