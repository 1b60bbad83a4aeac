"""Where the API is below the prefix, and which texts a path may have."""

from __future__ import annotations

from werkzeug.routing import BaseConverter

PATH = "/api/v1"


class AnyPath(BaseConverter):
    """A path with any characters; Werkzeug's takes no line end, which the name of an entry may have."""

    part_isolating = False
    regex = r"(?s:[^/].*?)"


__all__ = ["PATH", "AnyPath"]
