"""The dashboard's cookies: for its own path only, out of reach of scripts, and never sent by other sites' forms."""

from __future__ import annotations

from flask import Response

from . import sessions
from .call import Call, Done
from .sessions import Keys

SESSION = "nightshift_session"
"""Of an operator who came with a one-time link."""
VISITOR = "nightshift_visitor"
"""To which the token of forms is bound."""
SAID = "nightshift_said"
"""What the last action did, for the next page."""
LONGEST_SAID = 1000


def home(call: Call) -> str:
    """The path of the dashboard, without the slash at its end."""
    return call.request.script_root.rstrip("/") + call.services.settings.dashboard_prefix


def open_session(response: Response, call: Call, keys: Keys, name: str) -> None:
    """Let ``response`` open a session for the operator ``name``."""
    _set(response, call, SESSION, keys.sign(sessions.SESSION, {"name": name}), sessions.SESSION_SECONDS)


def close_session(response: Response, call: Call) -> None:
    """End the session of a one-time link in this browser."""
    response.delete_cookie(SESSION, path=home(call))


def visitor(response: Response, call: Call, value: str) -> None:
    """Keep what the tokens of forms are bound to. Lax, so that open forms survive a link from another site."""
    _set(response, call, VISITOR, value, None, "Lax")


def say(response: Response, call: Call, keys: Keys, done: Done) -> None:
    """Let the next page show what was done."""
    text = done.said if len(done.said) <= LONGEST_SAID else done.said[: LONGEST_SAID - 1] + "…"
    _set(response, call, SAID, keys.sign(sessions.SAID, [text, done.good]), sessions.SAID_SECONDS)


def said(call: Call, keys: Keys) -> tuple[str, bool] | None:
    """What the last action said, and whether it is good news."""
    found = keys.read(sessions.SAID, call.request.cookies.get(SAID, ""), sessions.SAID_SECONDS)
    return (found[0], found[1]) if found else None


def forget_said(response: Response, call: Call) -> None:
    """Do not show it again."""
    if SAID in call.request.cookies:
        response.delete_cookie(SAID, path=home(call))


def _set(
    response: Response, call: Call, name: str, value: str, seconds: int | None, site: str = "Strict"
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=home(call),
        secure=call.request.is_secure,
        httponly=True,
        samesite=site,
    )


__all__ = [
    "SAID",
    "SESSION",
    "VISITOR",
    "close_session",
    "forget_said",
    "home",
    "open_session",
    "said",
    "say",
    "visitor",
]
