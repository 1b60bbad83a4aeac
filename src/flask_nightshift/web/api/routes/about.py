"""Who asks, what the API is, and the whole system at a glance."""

from __future__ import annotations

from typing import Any

from flask import request

from ....domain.actor import PERMISSIONS
from ....observe import overview as overviews
from ....observe import workers as seen
from ..call import Call
from ..routing import get
from ..shapes.system import Me, Overview, Workers


@get("/me", Me, permission=None)
def me(call: Call) -> Any:
    """Who you are, and what you may do."""
    return {"name": call.actor.name, "permissions": [each for each in PERMISSIONS if call.actor.may(each)]}


@get("/openapi.json", None, permission=None)
def openapi(call: Call) -> Any:
    """The OpenAPI document of this API."""
    from .. import openapi as documents

    return documents.document(request.script_root + call.services.settings.dashboard_prefix)


@get("/overview", Overview)
def overview(call: Call) -> Any:
    """Queues, workers, Beat, dead letters and totals, within 3 s.

    A part that cannot be read is `{"unavailable": why}`.
    """
    return overviews.overview(call.services).as_dict()


@get("/workers", Workers)
def workers(call: Call) -> Any:
    """The workers, and the jobs that each runs."""
    return {"workers": [seen.as_dict(row) for row in seen.seen(call.services, call.now)]}
