"""``GET /health/live``, ``/health/ready``, ``/metrics`` and ``/nightshift/scale``: closed to strangers, never hanging.

Strangers learn only whether the service is ready (invariant 10). Trusted callers (``trust.py``) see the rest.

A route of the app at the same path takes precedence, whether the app adds it before or after ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Flask, Response, request

from .. import services
from ..config import Settings
from ..enqueue.request_id import REQUEST_ID_HEADER, request_id
from ..observe.our_rules import OurRule, hidden
from ..text.lines import Line
from .scaling import scale
from .trust import answer, forbidden, trusted

logger = logging.getLogger("flask_nightshift.http")
_HIDDEN = "a route of the app at this path hides Nightshift's: set NIGHTSHIFT_URL_PREFIX to have both"

DASHBOARD = "/nightshift"
"""The prefix of the scaling signals where there is no dashboard."""
CACHE = 1.0
"""Seconds for which the result of a check is reused, so that strangers cannot overload the broker."""


def register(app: Flask, built: services.Services) -> None:
    """Add the endpoints, unless access is ``off``, and echo each request's id in its response."""
    app.after_request(_echo_request_id)
    if built.settings.http_access == "off":
        return
    for path, view in views(built.settings).items():
        endpoint = f"{__package__}.{view.__name__}"  # not a blueprint, because the app may use its name
        rule = OurRule(path, endpoint=endpoint, methods={"GET", "OPTIONS"})
        rule.provide_automatic_options = True  # type: ignore[attr-defined] # as Flask adds its own rules
        app.view_functions[endpoint] = view
        app.url_map.add(rule)
    for path in hidden(app):
        logger.warning(Line("http.path_taken", _HIDDEN, path=path))


def views(settings: Settings) -> dict[str, Callable[[], Response]]:
    """The view of each path."""
    prefix = settings.url_prefix
    return {
        f"{prefix}/health/live": live,
        f"{prefix}/health/ready": ready,
        f"{prefix}/metrics": metrics,
        f"{settings.dashboard_prefix or DASHBOARD}/scale": scale,
    }


def live() -> Response:
    """Say with 200 that this process answers. Its dependencies do not count, because a restart would not fix them."""
    return answer({"status": "live"})


def ready() -> Response:
    """Answer 200 if all parts (or each ``?part=``) work, else 503. Trusted callers see each part with its latency."""
    from ..observe import health

    current = services.current()
    parts = tuple(request.args.getlist("part")) or health.PARTS
    unknown = sorted(set(parts) - set(health.PARTS))
    if unknown:
        message = f"there is no part {unknown[0]!r}; the parts are " + ", ".join(health.PARTS)
        return answer({"error": "unknown part", "message": message}, 400)
    report = health.check(current, parts, max_age=CACHE)
    body = report.as_dict() if trusted(request, current.settings) else {"status": report.status}
    return answer(body, 200 if report.ok else 503)


def metrics() -> Response:
    """Answer with the metrics of the whole cluster, in Prometheus' text format or OpenMetrics, as ``Accept`` asks.

    403 for strangers.
    """
    current = services.current()
    if not trusted(request, current.settings):
        return forbidden(current.settings, "Metrics are")
    from ..observe.metrics import exposition

    body, content_type = exposition(current, request.headers.get("Accept", ""))
    return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _echo_request_id(response: Response) -> Response:
    current = request_id()
    if current:
        response.headers.setdefault(REQUEST_ID_HEADER, current)
    return response


__all__ = ["register", "views"]
