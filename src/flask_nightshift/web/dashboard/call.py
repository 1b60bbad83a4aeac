"""One request for a page or an action, and what a page or an action answers.

A page returns ``show(template, …)``. An action returns ``Done``: what it did, for the reader and for the audit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Request, Response
from werkzeug.routing import MapAdapter

from ...domain.actor import Actor
from ...services import Services

_PLAIN = re.compile(r"[\w:@=,+~-][\w.:@=,+~-]*")
"""The id of a job that is part of a path. Servers, proxies and browsers change others (``..``, line ends)."""
_MOST_DIGITS = 20
LONGEST_REASON = 500
"""Characters of the reason that an operator gives for a change."""


class Refused(Exception):
    """The request is not done: ``status`` and a sentence for people, with the way out."""

    def __init__(self, status: int, title: str, said: str) -> None:
        super().__init__(said)
        self.status = status
        self.title = title
        self.said = said


@dataclass(frozen=True, slots=True)
class View:
    """A page: the name of its template, and the values for it."""

    template: str
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an action did.

    ``said`` is the sentence for the reader on the page ``to`` (a URL from ``call.url``). ``count`` says for the audit
    on how many, and ``target`` on what, if the action knows more than its route. ``good``: False if nothing, or not
    all, was done.
    """

    said: str
    to: str
    target: str = ""
    count: int = 1
    good: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """A request of ``actor`` at ``now``, for the route ``endpoint`` with the ``values`` of its path.

    ``nonce`` marks the scripts and styles of its page, ``token`` its forms.
    """

    request: Request
    services: Services
    actor: Actor
    now: datetime
    nonce: str
    token: str
    routes: MapAdapter
    endpoint: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def may(self, permission: str) -> bool:
        """Whether the actor has ``permission``."""
        return self.actor.may(permission)

    def url(self, endpoint: str, /, **values: Any) -> str:
        """The URL of a page or an action; values that its rule does not name become its query, without empty ones."""
        kept = {name: value for name, value in values.items() if value not in (None, "")}
        if endpoint == "job" and not _PLAIN.fullmatch(str(kept.get("job_id", ""))):
            endpoint = "odd_job"
        return self.routes.build(endpoint, kept)

    def here(self, /, **changes: Any) -> str:
        """The URL of this page with other values in its query; a value of None removes one."""
        return self.url(self.endpoint, **{**self.request.args.to_dict(flat=False), **self.values, **changes})

    def text(self, name: str, default: str = "") -> str:
        """A field of the query, or of the form of a POST, without the space around it."""
        source = self.request.form if self.request.method == "POST" else self.request.args
        return source.get(name, default).strip()

    def texts(self, name: str) -> list[str]:
        """All values of a field, for example of several checkboxes."""
        source = self.request.form if self.request.method == "POST" else self.request.args
        return source.getlist(name)

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 0 to ``most``; raises ``Refused`` for anything else."""
        given = self.text(name) or str(default)
        if not (given.isascii() and given.isdigit()) or len(given) > _MOST_DIGITS or int(given) > most:
            raise Refused(
                400, "Not a usable number", f"{name} = {given[:40]!r}: give a whole number up to {most}."
            )
        return int(given)

    @property
    def reason(self) -> str | None:
        """Why the operator makes this change (the form's field ``why``); raises ``Refused`` if it is too long."""
        why = self.text("why")
        if len(why) > LONGEST_REASON:
            raise Refused(400, "The reason is too long", f"Use at most {LONGEST_REASON} characters.")
        return why or None

    def confirmed(self, expected: str) -> None:
        """Raise ``Refused`` unless the operator typed ``expected`` into the field ``confirm``."""
        if self.text("confirm") != expected:
            raise Refused(400, "Not confirmed", f"Type {expected!r} exactly to confirm. Nothing was changed.")


def show(template: str, /, status: int = 200, **values: Any) -> View:
    """A page of ``template`` with ``values``; ``call``, ``ui`` and the filters of ``rendering.py`` are there, too."""
    return View(template, values, status)


Answer = View | Done | Response

__all__ = ["Answer", "Call", "Done", "Refused", "View", "show"]
