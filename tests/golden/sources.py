"""Names in the package's source: loggers, log events, and modules that texts mention."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
_LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
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


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each module, by its name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def loggers() -> dict[str, set[str]]:
    """The events that each logger of ours tells, by its name."""
    found: dict[str, set[str]] = {}
    for name, tree in modules().items():
        named = _named(name, tree)
        for logger in named.values():
            found.setdefault(logger, set())
        for call in _calls(tree):
            if teller := _told_by(call, named):
                found[teller] |= _events(call)
    return {name: events for name, events in found.items() if name.startswith("flask_nightshift")}


def _named(module: str, tree: ast.Module) -> dict[str, str]:
    """The loggers of a module, by the variables that hold them."""
    return {
        target.id: _name(module, node.value.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func) in ("logging.getLogger", "get_logger") and node.value.args
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _name(module: str, given: ast.expr) -> str:
    if isinstance(given, ast.Constant):
        return str(given.value)
    return module if ast.unparse(given) == "__name__" else _constants().get(ast.unparse(given), "")


@cache
def _constants() -> dict[str, str]:
    """The texts that stand in a module under a name in capitals."""
    return {
        target.id: node.value.value
        for tree in modules().values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper()
    }


def _told_by(call: ast.Call, named: dict[str, str]) -> str | None:
    """The logger of ``logger.info(…)``, or of a function of the module's own such as ``_say(logging.INFO, …)``."""
    variable, _, method = ast.unparse(call.func).rpartition(".")
    if method in (*_LEVELS, "log"):
        return named.get(variable)
    levels = [
        arg for arg in call.args[:1] if ast.unparse(arg) == "level" or ast.unparse(arg).startswith("logging.")
    ]
    return named.get("logger") if levels else None


def _events(call: ast.Call) -> set[str]:
    """The names of events in what is told, also those of a condition."""
    parts = [node.value for arg in call.args[:2] for node in ast.walk(arg) if isinstance(node, ast.Constant)]
    return {part for part in parts if isinstance(part, str) and _EVENT.fullmatch(part)}


def places() -> set[str]:
    """``module:attribute`` of everything that settings, entry points, documentation or an import of a user name."""
    found = set()
    for tree in modules().values():
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        found |= {text for text in texts if isinstance(text, str) and _PLACE.fullmatch(text)}
    for pattern in _FOR_USERS:
        for path in filter(Path.is_file, ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            found |= set(_PLACE.findall(text))
            for module, names in _IMPORT.findall(text):
                found |= {f"{module}:{name.split()[0]}" for name in names.split(",") if name.strip()}
    return found


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))
