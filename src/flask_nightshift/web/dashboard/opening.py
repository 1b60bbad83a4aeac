"""What strangers may ask for: static files, and the way in with a one-time link."""

from __future__ import annotations

from flask import Response

from . import assets, cookies, guard, rendering, sessions
from .call import Call, Refused
from .routing import action, opened

A_YEAR = "public, max-age=31536000, immutable"


@opened("/static/<version>/<name>")
def static(_: Call, version: str, name: str) -> Response:
    """A file of the package."""
    asset = assets.files().get(name)
    if asset is None:
        raise Refused(404, "There is nothing here", "There is no such file.")
    response = Response(asset.content, mimetype=asset.mimetype)
    response.headers["Cache-Control"] = A_YEAR if version == asset.tag else "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@opened("/open/<link>")
def open_link(call: Call, link: str) -> Response:
    """Open a session with a one-time link.

    The answer is a page that leads on, not a redirect: the session's cookie is for the same site only, and a browser
    does not send it after a redirect from a link on another site.
    """
    keys = guard.keys_of(call.request, call.services)
    signed = keys.read(sessions.LINK, link, sessions.LINK_SECONDS)
    if signed is not None and call.request.method == "HEAD":  # a scanner of mails looks at it; a GET opens
        return rendering.simple(call, "opened.html", to=call.url("overview"))
    if signed is None or not guard.claim_link(call.request, call.services, signed["id"]):
        raise Refused(
            403,
            "This link does not open anything",
            f"A link works once, and for {sessions.LINK_SECONDS // 60} minutes. "
            "Print another one with: flask jobs dashboard",
        )
    response = rendering.simple(call, "opened.html", to=call.url("overview"))
    cookies.open_session(response, call, keys, signed["name"])
    return response


@action("/leave", permission="view", recorded=True)
def leave(call: Call) -> Response:
    """End the session that a one-time link opened."""
    response = rendering.simple(call, "left.html")
    cookies.close_session(response, call)
    return response
