"""The dashboard alone, without the app's own pages and hooks: what ``flask jobs dashboard`` serves on this machine.

Only one-time links open it. ``NIGHTSHIFT_DASHBOARD_AUTH`` does not count here, because it may trust a proxy's header,
and no proxy stands in front of this port. The key that signs the links is new with each start.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Response

from ...operations.pauses import operator
from ...services import Services
from . import guard, mount, sessions
from .sessions import Keys

logger = logging.getLogger("flask_nightshift.http")

HOST = "127.0.0.1"


class Alone:
    """A WSGI application of the dashboard of one app."""

    def __init__(self, services: Services) -> None:
        self._app = services.app
        self._prefix = services.settings.dashboard_prefix
        self._keys = Keys((secrets.token_bytes(32),))
        self._used: set[str] = set()
        self._claiming = threading.Lock()

    def link(self, url: str) -> str:
        """A one-time link, for this application at ``url``."""
        return f"{url}{self._prefix}/open/{sessions.new_link(self._keys, operator())}"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request; everything outside of the dashboard leads to it."""
        path = environ.get("PATH_INFO", "")
        environ |= {guard.ALONE: self._keys, guard.CLAIM: self._claim}
        with self._app.request_context(environ):
            response = self._answer(path)
            return response(environ, start_response)

    def _claim(self, link_id: str) -> bool:
        """Whether this is the first use of the link. No other process knows it, so it needs no database."""
        with self._claiming:
            first = link_id not in self._used
            self._used.add(link_id)
        return first

    def _answer(self, path: str) -> Response:
        if not path.startswith(f"{self._prefix}/"):
            return Response(status=302, headers={"Location": f"{self._prefix}/"})
        try:
            return mount.dashboard(path[len(self._prefix) + 1 :])
        except Exception:
            logger.exception("http.dashboard_failed", extra={"path": path})
            return Response("The dashboard failed; its terminal says why.\n", 500, mimetype="text/plain")


def link_to(services: Services, url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """A one-time link to the dashboard of the app that runs at ``url``; None without a dashboard or ``SECRET_KEY``.

    ``environ`` is the environment of the app's processes.
    """
    keys = guard.keys(services, environ)
    if keys is None or not services.settings.dashboard_prefix:
        return None
    return f"{url.rstrip('/')}{services.settings.dashboard_prefix}/open/{sessions.new_link(keys, operator())}"


def serve(services: Services, port: int, tell: Callable[[str], object]) -> None:
    """Serve the dashboard on ``port`` of this machine until Ctrl-C or SIGTERM; ``tell`` gets the link."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing: the page polls every two seconds."""

    application = Alone(services)
    server = make_server(HOST, port, application, threaded=True, request_handler=Quiet)
    tell(application.link(f"http://{HOST}:{port}"))
    try:
        server.serve_forever()
    finally:
        server.server_close()


__all__ = ["Alone", "link_to", "serve"]
