"""Responses with headers that the app's own hooks cannot weaken, and with an ETag for what is polled.

Flask's ``after_request`` functions (Flask-Talisman's, for example) run after a view and would replace our content
security policy by one for the whole app. So ours is set last, when the response becomes WSGI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from flask import Response, current_app
from werkzeug.datastructures import Headers

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURE = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send Origin: null with forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MOMENTS = re.compile(r"(<time[^>]*>)[^<]*</time>")


class Seal(Response):
    """A mixin before the app's own class of responses, so that Flask does not convert the response to that class."""

    kept: Mapping[str, str] = MappingProxyType({})
    """The headers to set last."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """All headers, with ours as they are."""
        headers = super().get_wsgi_headers(environ)
        for name, value in self.kept.items():
            headers[name] = value
        return headers


def _class() -> type[Seal]:
    base = current_app.response_class
    return Seal if issubclass(Seal, base) else type("Sealed", (Seal, base), {})


def sealed(body: str | bytes, status: int = 200, *, nonce: str = "", **headers: str) -> Response:
    """A page, or a part of one, that is never cached; ``nonce`` is the one of its scripts and styles."""
    made = _class()(body, status=status, mimetype="text/html")
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    policy = POLICY.format(nonce=nonce or "none")
    made.kept = {"Cache-Control": "no-store", "Content-Security-Policy": policy, **SECURE, **extra}
    made.headers.pop("Content-Security-Policy-Report-Only", None)
    return made


def etag_of(live: str) -> str:
    """The tag of a polled part: the same as long as only relative times in it change, which the page keeps itself."""
    said = _MOMENTS.sub(r"\1</time>", live)
    return '"' + blake2b(said.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest() + '"'


def polled(live: str, known: str | None) -> Response:
    """The part of a page that a poll asked for; 304 if the reader's page has it (its ETag is ``known``)."""
    tag = etag_of(live)
    if known == tag:
        return sealed("", 304, ETag=tag)
    return sealed(live, ETag=tag)


def see_other(url: str) -> Response:
    """Go on to ``url`` with a GET."""
    return sealed("", 303, Location=url)


__all__ = ["etag_of", "polled", "sealed", "see_other"]
