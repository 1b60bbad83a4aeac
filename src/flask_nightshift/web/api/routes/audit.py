"""The audit."""

from __future__ import annotations

from typing import Any

from ....observe import audit as pages
from ..call import Call
from ..reading import time
from ..routing import get
from ..shapes.audit import AuditPage, AuditWanted


@get("/audit", AuditPage, query=AuditWanted)
def audit(call: Call) -> Any:
    """Who did what, the latest first."""
    asked = call.query
    filters = pages.Filters(
        asked.by, asked.action, time(call, "since", asked.since), time(call, "until", asked.until)
    )
    return pages.page(call.services, filters, limit=asked.limit, after=asked.after).as_dict()
