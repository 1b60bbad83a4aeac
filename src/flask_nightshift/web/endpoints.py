"""``GET /health/live``, ``/health/ready`` and ``/metrics``: closed to strangers, and never hanging.

Strangers learn only whether the service is ready (invariant 10). Trusted callers see details and metrics.
``NIGHTSHIFT_HTTP_ACCESS`` decides who is trusted: ``token`` (callers that send ``Authorization: Bearer …``; without a
configured token nobody), ``local`` (also this machine; use it only if no proxy runs there, because a bare
``proxy_pass`` makes strangers look local), ``open``, ``off``.

A route of the app at the same path takes precedence, whether the app adds it before or after ours.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from ipaddress import ip_address

from flask import Flask, Request, Response, jsonify, request

from .. import services
from ..config.settings import Settings
from ..enqueue.request_id import REQUEST_ID_HEADER, request_id
from ..observe.our_rules import OurRule, hidden

logger = logging.getLogger("flask_nightshift.http")
_HIDDEN = (
    "the app has a route %s of its own, which hides Nightshift's: set NIGHTSHIFT_URL_PREFIX to have both"
)

CACHE = 1.0
"""Seconds for which the result of a check is reused, so that strangers cannot overload the broker."""
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def register(app: Flask, built: services.Services) -> None:
    """Add the endpoints, unless access is ``off``, and echo each request's id in its response."""
    app.after_request(_echo_request_id)
    if built.settings.http_access == "off":
        return
    for path, view in (("/health/live", live), ("/health/ready", ready), ("/metrics", metrics)):
        endpoint = f"{__package__}.{view.__name__}"  # not a blueprint, because the app may use its name
        rule = OurRule(built.settings.url_prefix + path, endpoint=endpoint, methods={"GET", "OPTIONS"})
        rule.provide_automatic_options = True  # type: ignore[attr-defined] # as Flask adds its own rules
        app.view_functions[endpoint] = view
        app.url_map.add(rule)
    for path in hidden(app):
        logger.warning(_HIDDEN, path)


def live() -> Response:
    """Say that this process answers. Its dependencies do not count, because a restart would not fix them."""
    return _json({"status": "live"})


def ready() -> Response:
    """Answer 200 if all parts (or each ``?part=``) work, else 503; trusted callers see each part."""
    from ..observe import health

    current = services.current()
    parts = tuple(request.args.getlist("part")) or health.PARTS
    unknown = sorted(set(parts) - set(health.PARTS))
    if unknown:
        message = f"there is no part {unknown[0]!r}; the parts are " + ", ".join(health.PARTS)
        return _json({"error": "unknown part", "message": message}, 400)
    report = health.check(current, parts, max_age=CACHE)
    body = report.as_dict() if trusted(request, current.settings) else {"status": report.status}
    return _json(body, 200 if report.ok else 503)


def metrics() -> Response:
    """Answer with Prometheus metrics of the whole cluster, in the text format or OpenMetrics, as ``Accept`` asks."""
    current = services.current()
    if not trusted(request, current.settings):
        return _forbidden(current.settings)
    from ..observe.metrics import exposition

    body, content_type = exposition(current, request.headers.get("Accept", ""))
    return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def trusted(asked: Request, settings: Settings) -> bool:
    """Whether the caller may read details and metrics."""
    if settings.http_access == "open":
        return True
    if settings.http_token and _bearer(asked, settings.http_token):
        return True
    return settings.http_access == "local" and _is_local(asked)


def _bearer(asked: Request, token: str) -> bool:
    kind, _, given = asked.headers.get("Authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _is_local(asked: Request) -> bool:
    """Whether the request comes from this machine and names it as local (a browser can be made to use another name)."""
    if any(header in asked.headers for header in _PROXIED) or not _is_loopback(asked.remote_addr or ""):
        return False
    host = asked.host.rpartition(":")[0] if asked.host.rpartition("]")[2].count(":") else asked.host
    return host == "localhost" or host.endswith(".localhost") or _is_loopback(host.strip("[]"))


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def _forbidden(settings: Settings) -> Response:
    if settings.http_token:
        way = "send the header 'Authorization: Bearer <NIGHTSHIFT_HTTP_TOKEN>'"
    else:
        way = (
            "set NIGHTSHIFT_HTTP_TOKEN and send it as a bearer token, or set NIGHTSHIFT_HTTP_ACCESS to 'local' where "
            "no proxy runs on this machine, or to 'open' where the network itself is closed"
        )
    response = _json({"error": "forbidden", "message": f"Metrics are not open to strangers: {way}."}, 403)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _echo_request_id(response: Response) -> Response:
    current = request_id()
    if current:
        response.headers.setdefault(REQUEST_ID_HEADER, current)
    return response


__all__ = ["register", "trusted"]
