"""A third party to call, for trying things out: ``python -m shop.partner --port 8027``.

The answers to ``POST``, by path:

- ``/ok``      200
- ``/flaky``   503 to the first three calls with a key, then 200
- ``/busy``    429 with ``Retry-After: 3``, then 200
- ``/gone``    410
- ``/broken``  500 until ``POST /repair``, then 200

``GET /received`` lists the calls, oldest first: ``{"at", "path", "host", "key", "status", "payload"}``, ``at`` in
seconds since the epoch. It counts calls by ``Idempotency-Key``.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import Any

import click
from flask import Flask, Response, jsonify, redirect, render_template, request
from werkzeug.serving import make_server
from werkzeug.wrappers import Response as BaseResponse

from .serve import until_stopped

FLAKY_FAILURES = 3
KEPT = 500
"""The number of calls that it remembers."""


def create_partner() -> Flask:
    """The partner as a Flask app."""
    app = Flask(__name__)
    calls: deque[dict[str, Any]] = deque(maxlen=KEPT)
    seen: Counter[tuple[str, str]] = Counter()
    repaired = threading.Event()
    lock = threading.Lock()

    @app.get("/")
    def page() -> str:
        return render_template("partner.html", calls=list(calls)[::-1])

    @app.get("/received")
    def received() -> Response:
        return jsonify(list(calls))

    @app.post("/repair")
    def repair() -> BaseResponse:
        repaired.set()
        return jsonify(repaired=True) if request.is_json else redirect("/", 303)

    @app.post("/<mood>")
    def call(mood: str) -> tuple[Response, int]:
        key = request.headers.get("Idempotency-Key", "")
        with lock:
            seen[mood, key] += 1
            status = _status(mood, seen[mood, key], repaired.is_set())
            note = {"at": time.time(), "path": f"/{mood}", "host": request.host, "key": key}
            note |= {"status": status, "payload": request.get_json(silent=True)}
            calls.append(note)
        response = jsonify(status=status, mood=mood)
        if status == 429:
            response.headers["Retry-After"] = "3"
        return response, status

    return app


def _status(mood: str, times: int, repaired: bool) -> int:
    match mood:
        case "ok":
            return 200
        case "flaky":
            return 503 if times <= FLAKY_FAILURES else 200
        case "busy":
            return 429 if times == 1 else 200
        case "gone":
            return 410
        case "broken":
            return 200 if repaired else 500
    return 404


@click.command()
@click.option("--port", type=int, default=8027, show_default=True)
def main(port: int) -> None:
    """Serve until SIGTERM."""
    until_stopped(make_server("127.0.0.1", port, create_partner(), threaded=True))


if __name__ == "__main__":
    main()
