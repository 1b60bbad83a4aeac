"""Who may do what. Closed by default (invariant 10): strangers see a page that says how to open the dashboard.

The actor is whom ``NIGHTSHIFT_DASHBOARD_AUTH`` names, or the operator who opened it with a one-time link. A change has
to be a POST with our token, from our own pages, by an actor with its permission.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from flask import Request
from werkzeug.utils import import_string

from ...domain.actor import Actor, everything
from ...errors import ConfigurationError
from ...operations import links
from ...services import Services
from . import cookies, sessions
from .call import Call, Refused
from .sessions import Keys

AUTH = "NIGHTSHIFT_DASHBOARD_AUTH"
ALONE = "flask_nightshift.dashboard.keys"
"""Key of the WSGI environment of ``flask jobs dashboard``, with its keys; no request can bring one."""
CLAIM = "flask_nightshift.dashboard.claim"
"""Likewise, with what remembers the one-time links of ``flask jobs dashboard``."""
UP_KEY = "JOBS_UP_KEY"
"""Variable, which is no setting, with which ``flask jobs up`` gives its processes a key for an app without one."""
TOKEN_FIELD = "token"  # noqa: S105 - the name of a field
_OURS = frozenset({"same-origin", "none"})
"""``Sec-Fetch-Site`` of our own pages, and of what a person typed."""
_PORTS = {"http": 80, "https": 443}


def keys(services: Services, environ: Mapping[str, str] = os.environ) -> Keys | None:
    """The keys of the app; without ``SECRET_KEY`` the one of ``flask jobs up``, or None."""
    found = Keys.of(services.app.config)
    if found is None and (ours := environ.get(UP_KEY)):
        return Keys((ours.encode(),))
    return found


def keys_of(request: Request, services: Services) -> Keys:
    """The keys for this request; raises ``Refused`` without ``SECRET_KEY``."""
    found = request.environ.get(ALONE) or keys(services)
    if found is None:
        raise Refused(
            503,
            "SECRET_KEY is not set",
            "The dashboard signs its forms with the app's SECRET_KEY. Set it to the output of "
            "python -c 'import secrets; print(secrets.token_hex())', the same in all web processes.",
        )
    return cast("Keys", found)


def actor_of(request: Request, services: Services, keys: Keys) -> Actor | None:
    """Whoever makes the request; None: a stranger."""
    auth = authenticate(services) if ALONE not in request.environ else None
    if auth is not None and (named := _actor(auth(request))) is not None:
        return named
    session = keys.read(sessions.SESSION, request.cookies.get(cookies.SESSION, ""), sessions.SESSION_SECONDS)
    return everything(session["name"]) if session else None


def by_link(call: Call) -> bool:
    """Whether a one-time link has opened a session in this browser."""
    return cookies.SESSION in call.request.cookies


def claim_link(request: Request, services: Services, link_id: str) -> bool:
    """Whether this is the first use of a one-time link; raises ``DatabaseUnavailable`` where processes share links."""
    claim = request.environ.get(CLAIM)
    return bool(claim(link_id)) if claim is not None else links.claim(services, link_id)


def authenticate(services: Services) -> Callable[[Request], Any] | None:
    """The function of ``NIGHTSHIFT_DASHBOARD_AUTH``, imported if it is a path; None if it is not configured."""
    configured = services.settings.dashboard_auth
    return _imported(configured) if isinstance(configured, str) else configured


def _imported(path: str) -> Callable[[Request], Any]:
    try:
        found: Any = import_string(path)
    except ImportError as exc:
        raise ConfigurationError(AUTH, path, f"it cannot be imported ({exc})") from exc
    if not callable(found):
        raise ConfigurationError(AUTH, path, "it has to name a function that takes the request")
    checked: Callable[[Request], Any] = found
    return checked


def _actor(answer: object) -> Actor | None:
    if answer is None or isinstance(answer, Actor):
        return answer
    raise ConfigurationError(AUTH, answer, "the function has to return an Actor, or None for a stranger")


def check_origin(request: Request) -> None:
    """Raise ``Refused`` if another site sends the request.

    Browsers say so in ``Sec-Fetch-Site``, but not over plain HTTP. There, ``Origin`` has to name our host, if it is
    sent; the token decides in any case.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in _OURS:
            raise _foreign(f"the browser says that {site} sent it (Sec-Fetch-Site)")
        return
    origin = request.headers.get("Origin")
    if origin is not None and _place(origin) != _place(request.host_url):
        raise _foreign(
            f"it comes from {origin[:200]}, and this is {request.host_url.rstrip('/')}. If a proxy changes the host, "
            "let it send X-Forwarded-Host and use Werkzeug's ProxyFix"
        )


def check_token(request: Request, keys: Keys, actor: Actor) -> None:
    """Raise ``Refused`` if the form does not have the token of ``actor`` in this browser."""
    visitor = request.cookies.get(cookies.VISITOR, "")
    token = request.form.get(TOKEN_FIELD, "")
    if not visitor or not token or not keys.takes(token, visitor, actor.name):
        raise Refused(
            403,
            "This form is too old",
            "It belongs to another session, or cookies are off. Nothing was changed: go back, load the page again and "
            "repeat what you did.",
        )


def check_permission(actor: Actor, permission: str) -> None:
    """Raise ``Refused`` if ``actor`` does not have ``permission``."""
    if permission not in actor.permissions:
        raise Refused(
            403,
            "You may not do this",
            f"{actor.name} does not have the permission {permission!r}. The function in {AUTH} grants it.",
        )


def _foreign(why: str) -> Refused:
    return Refused(403, "This request comes from another site", f"Nothing was changed: {why}.")


def _place(url: str) -> tuple[str, int | None]:
    """Host and port of ``url``. Its scheme is left out, because a proxy that ends TLS changes it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url, None
    default = port is None or port in _PORTS.values()
    return (parts.hostname or url).lower(), None if default else port


__all__ = [
    "ALONE", "AUTH", "CLAIM", "TOKEN_FIELD", "UP_KEY", "actor_of", "authenticate", "by_link", "check_origin",
    "check_permission", "check_token", "claim_link", "keys", "keys_of",
]  # fmt: skip
