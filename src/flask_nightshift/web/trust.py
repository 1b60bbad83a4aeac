"""Who may read details and metrics, and the answers that strangers get.

``NIGHTSHIFT_HTTP_ACCESS`` decides who is trusted: ``token`` (callers that send ``Authorization: Bearer …``; without a
configured token nobody), ``local`` (also this machine; use it only if no proxy runs there, because a bare
``proxy_pass`` makes strangers look local), ``open``, ``off``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from ipaddress import ip_address

from flask import Request, Response, jsonify

from ..config.settings import Settings

_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


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


def forbidden(settings: Settings, what: str) -> Response:
    """The answer to a stranger; ``what`` is closed, such as ``Metrics are``."""
    if settings.http_token:
        way = "send the header 'Authorization: Bearer <NIGHTSHIFT_HTTP_TOKEN>'"
    else:
        way = (
            "set NIGHTSHIFT_HTTP_TOKEN and send it as a bearer token, or set NIGHTSHIFT_HTTP_ACCESS to 'local' where "
            "no proxy runs on this machine, or to 'open' where the network itself is closed"
        )
    response = answer({"error": "forbidden", "message": f"{what} not open to strangers: {way}."}, 403)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def answer(body: Mapping[str, object], status: int = 200) -> Response:
    """``body`` as JSON that nothing keeps."""
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


__all__ = ["answer", "forbidden", "trusted"]
