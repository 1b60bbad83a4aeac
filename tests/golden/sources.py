"""Names in the package's source: loggers, log events, and modules that texts mention."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from refpages import sources as reader

ROOT = Path(__file__).parents[2]
_PLACE = re.compile(r"\bflask_nightshift(?:_alembic)?(?:\.\w+)*:[A-Za-z]\w*")
_IMPORT = re.compile(r"^\s*(?:>>> )?from (flask_nightshift[\w.]*) import ([\w, ]+)", re.MULTILINE)
_FOR_USERS = (
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
    "docs/**/*.md",
    "docker/**/*",
    "examples/**/*.py",
)


def loggers() -> dict[str, set[str]]:
    """The events that each logger of ours tells, by its name."""
    found: dict[str, set[str]] = {name: set() for name in reader.loggers()}
    for call in reader.told():
        found[call.logger] |= call.events
    return found


def places() -> set[str]:
    """``module:attribute`` of everything that settings, entry points, documentation or an import of a user name."""
    found = set()
    for tree in reader.modules().values():
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        found |= {text for text in texts if isinstance(text, str) and _PLACE.fullmatch(text)}
    for pattern in _FOR_USERS:
        for path in filter(Path.is_file, ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            found |= set(_PLACE.findall(text))
            for module, names in _IMPORT.findall(text):
                found |= {f"{module}:{name.split()[0]}" for name in names.split(",") if name.strip()}
    return found
