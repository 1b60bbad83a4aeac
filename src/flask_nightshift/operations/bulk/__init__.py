"""Bulk actions: one action on all jobs or dead letters of a filter, which workers carry out in portions.

``plan`` is the dry run: it counts, and fixes the set by an upper time and id. ``start`` writes a row, and any worker's
background loop (``bulk_runner.py``) carries it out. A worker that dies leaves at most one portion, which another worker
takes over; each job is acted on once.
"""

from .actions import (
    ACTIONS,
    CANCEL,
    DISCARD,
    FASTEST,
    REPLAY,
    RUN,
    SLOWEST,
    BulkAction,
    Plan,
    Position,
    about,
    about_filters,
    cancel,
    find,
    latest,
    plan,
    position,
    shown_filters,
    start,
)
from .pages import Page, page

__all__ = [
    "ACTIONS",
    "CANCEL",
    "DISCARD",
    "FASTEST",
    "REPLAY",
    "RUN",
    "SLOWEST",
    "BulkAction",
    "Page",
    "Plan",
    "Position",
    "about",
    "about_filters",
    "cancel",
    "find",
    "latest",
    "page",
    "plan",
    "position",
    "shown_filters",
    "start",
]
