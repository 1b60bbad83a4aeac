"""One call of the API by a known actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...domain.actor import VIEW_ARGS, Actor
from ...services import Services
from ...text.passwords import HIDDEN
from .problems import Problem


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked: ``path`` are the values of the address, ``query`` and ``body`` the route's shapes."""

    services: Services
    actor: Actor
    now: datetime
    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None

    def needs(self, permission: str, why: str = "") -> None:
        """Raise a ``Problem`` unless the actor has ``permission``; ``why`` says for what."""
        if not self.actor.may(permission):
            what = f"{why} needs" if why else "this needs"
            raise Problem(
                403, "forbidden", f"{self.actor.name} may not do it: {what} the permission {permission!r}"
            )

    def hide(self, value: dict[str, Any], *names: str) -> dict[str, Any]:
        """``value`` without the arguments of a job in ``names``, unless the actor may see arguments."""
        if self.actor.may(VIEW_ARGS):
            return value
        return value | {name: HIDDEN for name in names if value[name] is not None}


ALSO = {VIEW_ARGS: "this, which shows or names arguments of jobs,"}
"""Why a route needs a second permission."""
Run = Callable[[Call], Any]

__all__ = ["ALSO", "Call", "Run"]
