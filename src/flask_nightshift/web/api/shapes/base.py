"""What all shapes share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

At = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time in UTC, ISO 8601."""
Text = Annotated[str, Meta(max_length=2_000)]
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Why = Annotated[str, Meta(max_length=500, description="Why you do it; the audit keeps it.")]
Limit = Annotated[int, Meta(ge=1, le=500, description="At most this many.")]
Moment = Annotated[
    str,
    Meta(
        max_length=40,
        description="A time: 30m, 2h or 7d before now, or ISO 8601 (UTC unless it has an offset).",
    ),
]


NextKey = Annotated[str | None, Meta(description="The key of the next page; null after the last page.")]
After = Annotated[Text | None, Meta(description="The key that the page before has named.")]


class Shape(Struct, kw_only=True, forbid_unknown_fields=True):
    """An object without further members. (Not frozen, because type checkers want that said at each subclass.)"""


class Nothing(Shape):
    """Nothing."""


__all__ = ["After", "At", "Limit", "Moment", "Name", "NextKey", "Nothing", "Shape", "Text", "Why"]
