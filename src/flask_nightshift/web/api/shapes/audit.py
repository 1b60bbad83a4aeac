"""Shapes of the audit."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .base import At, Limit, Moment, Name, Shape, Text


class Action(Shape):
    """Who did what, on what, why, on how many, and how it ended."""

    id: str
    at: At
    ended_at: At | None
    by: str
    action: str
    target: str
    why: str | None
    count: int | None
    outcome: Literal["begun", "done", "failed", "cancelled"]
    error: str | None


class AuditPage(Shape):
    """Actions, the latest first."""

    actions: list[Action]
    after: Annotated[str | None, Meta(description="The key of the next page; null after the last page.")]


class AuditWanted(Shape):
    """Conditions that an action meets, all of them, and the page."""

    by: Annotated[Name | None, Meta(description="Who did it.")] = None
    action: Annotated[Name | None, Meta(description="A verb, such as replay.")] = None
    since: Annotated[Moment | None, Meta(description="Begun since.")] = None
    until: Annotated[Moment | None, Meta(description="Begun before.")] = None
    limit: Limit = 50
    after: Annotated[Text | None, Meta(description="The key that the page before has named.")] = None


__all__ = ["AuditPage", "AuditWanted"]
