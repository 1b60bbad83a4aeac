"""The static files of the package, with a tag of their content in their URLs, so that browsers may keep them."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

STATIC = Path(__file__).with_name("static")


class Asset(NamedTuple):
    """A file: the tag of its content, the content, and its type."""

    tag: str
    content: bytes
    mimetype: str


@cache
def files() -> dict[str, Asset]:
    """The static files by name."""
    found = {}
    for path in sorted(STATIC.iterdir()):
        content = path.read_bytes()
        kind = guess_type(path.name)[0] or "application/octet-stream"
        found[path.name] = Asset(blake2b(content, digest_size=6).hexdigest(), content, kind)
    return found


__all__ = ["files"]
