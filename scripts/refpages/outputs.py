"""What the commands print with ``--json``, from the shapes in ``web/api/shapes``."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args, get_origin

from msgspec import Struct, json

from flask_nightshift.web.api.shapes.commands import OUTPUTS, Output

from .markdown import code, table

_REF = "#/{name}"


def chapters() -> str:
    """What each command prints, and a chapter for each shape."""
    every = [(command, output) for command, outputs in OUTPUTS.items() for output in outputs]
    shapes = list(dict.fromkeys(_of(output.shape) for _, output in every))
    _, found = json.schema_components(shapes, ref_template=_REF)
    top = table(("command", "prints"), [_row(*each) for each in every])
    return "\n\n".join([top, *(_chapter(name, found[name]) for name in sorted(found))])


def _row(command: str, output: Output) -> tuple[str, str]:
    link = _link(_of(output.shape).__name__)
    what = f"list of {link}" if get_origin(output.shape) is list else link
    return f"{code(f'flask jobs {command}')} {output.when}".rstrip(), what


def _of(shape: Any) -> type[Struct]:
    found: type[Struct] = get_args(shape)[0] if get_origin(shape) is list else shape
    return found


def _chapter(name: str, schema: dict[str, Any]) -> str:
    rows = [
        (code(member), f"{_kind(inner)}{'' if member in schema['required'] else ', *maybe*'}", _said(inner))
        for member, inner in schema["properties"].items()
    ]
    return f"## {name}\n\n{_said(schema)}\n\n{table(('member', 'value', 'meaning'), rows)}"


def _said(schema: dict[str, Any]) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", inspect.cleandoc(schema.get("description", "")).replace("\n", " "))


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _kind(schema: dict[str, Any]) -> str:
    """The type of a value in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {_kind(schema['items'])}"
        case "object":
            return f"object with a {_kind(schema['additionalProperties'])} for each name"
        case "string":
            return "time" if schema.get("format") == "date-time" else "text"
        case "integer":
            return "whole number"
        case "boolean":
            return "true or false"
        case None:
            return "anything"
        case kind:
            return str(kind)


__all__ = ["chapters"]
