"""What the package logs, read from its source: each call of a logger, with its logger, events, levels and fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import compile as pattern

SOURCE = Path(__file__).parents[2] / "src"
_EVENT = pattern(r"[a-z_]+\.[a-z_]+")
_OF_A_JOB = ("job_id", "task", "attempt", "queue")
_LEVELS = ("debug", "info", "warning", "error", "critical", "exception")


@dataclass(frozen=True, slots=True)
class Told:
    """One call of a logger. ``fields`` are those that the call itself names.

    ``text`` is what is told, as the source writes it; empty in a function that passes on what its callers tell.
    """

    logger: str
    text: str
    events: frozenset[str]
    levels: frozenset[str]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call stands: its function, and the other functions of the module."""

    scope: ast.AST
    functions: dict[str, ast.FunctionDef]


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each module, by its name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def loggers() -> set[str]:
    """The names of the package's loggers."""
    found = {logger for name, tree in modules().items() for logger in _named(name, tree).values()}
    return {name for name in found if name.startswith("flask_nightshift")}


@cache
def told() -> tuple[Told, ...]:
    """Each call of a logger of the package."""
    return tuple(_told())


def _told() -> Iterator[Told]:
    for name, tree in modules().items():
        named = _named(name, tree)
        functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
        for scope in _scopes(tree):
            for call in _calls(scope):
                logger = _told_by(call, named)
                if logger is not None and logger.startswith("flask_nightshift"):
                    place = Place(scope, functions)
                    events, levels = frozenset(_events(call)), frozenset(_levels(call, scope))
                    yield Told(logger, _text(call, scope), events, levels, _fields(call, place))


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Each function; nested ones belong to the function around them."""
    stack: list[ast.AST] = [tree]
    while stack:
        for node in ast.iter_child_nodes(stack.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node
            else:
                stack.append(node)


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
    given = [
        arg for arg in call.args[:1] if ast.unparse(arg) == "level" or ast.unparse(arg).startswith("logging.")
    ]
    return named.get("logger") if given else None


def _events(call: ast.Call) -> set[str]:
    """The names of events in what is told, also those of a condition."""
    parts = [node.value for arg in call.args[:2] for node in ast.walk(arg) if isinstance(node, ast.Constant)]
    return {part for part in parts if isinstance(part, str) and _EVENT.fullmatch(part)}


def _text(call: ast.Call, scope: ast.AST) -> str:
    at = 0 if ast.unparse(call.func).rpartition(".")[2] in _LEVELS else 1
    if at >= len(call.args):
        return ""
    told = call.args[at]
    event = told.args[0] if isinstance(told, ast.Call) and told.args else told
    given = {each.arg for each in ast.walk(scope) if isinstance(each, ast.arg)}
    if isinstance(event, ast.Name) and event.id in given:
        return ""
    return str(told.value) if isinstance(told, ast.Constant) else ast.unparse(told)


def _levels(call: ast.Call, scope: ast.AST) -> set[str]:
    method = ast.unparse(call.func).rpartition(".")[2]
    if method in _LEVELS:
        return {"ERROR" if method == "exception" else method.upper()}
    given = ast.unparse(call.args[0])
    if given.startswith("logging."):
        return set(_names_of_levels(call.args[0]))
    assigned = (
        node.value for node in ast.walk(scope) if isinstance(node, ast.Assign) and _assigns(node, given)
    )
    return {level for value in assigned for level in _names_of_levels(value)}


def _names_of_levels(node: ast.expr) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "logging" and each.attr.isupper():
            yield each.attr


def _fields(call: ast.Call, place: Place) -> tuple[str, ...]:
    """The names of fields, in their order: of ``extra``, of a ``Line``, or of a function that makes one."""
    found = [*_OF_A_JOB] if "event.job" in map(ast.unparse, call.args) else []
    for each in call.keywords:
        if each.arg == "extra":
            found += _keys(each.value, place)
        elif each.arg not in (None, "exc_info"):
            found.append(str(each.arg))
    for line in (arg for arg in call.args if isinstance(arg, ast.Call)):
        found += _keys(line, place)
    return tuple(dict.fromkeys(found))


def _keys(node: ast.expr, place: Place) -> Iterator[str]:
    """The keys of a dict that an expression makes, as far as the module says them."""
    match node:
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield str(key.value)
                elif key is None:
                    yield from _keys(value, place)
        case ast.BinOp():
            yield from _keys(node.left, place)
            yield from _keys(node.right, place)
        case ast.Name():
            for each in ast.walk(place.scope):
                if isinstance(each, (ast.Assign, ast.AnnAssign)) and each.value and _assigns(each, node.id):
                    yield from _keys(each.value, place)
        case ast.Call():
            yield from _keys_of_call(node, place)


def _keys_of_call(node: ast.Call, place: Place) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name == "job_fields":
        yield from _OF_A_JOB
    elif function := place.functions.get(name):
        within = Place(function, {other: each for other, each in place.functions.items() if other != name})
        for each in ast.walk(function):
            if isinstance(each, ast.Return) and each.value:
                yield from _keys(each.value, within)
    elif name in ("Line", "LogLine", "dict"):
        for given in node.keywords:
            yield from _keys(given.value, place) if given.arg is None else (given.arg,)


def _assigns(node: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


__all__ = ["SOURCE", "Told", "loggers", "modules", "told"]
