"""The fingerprint of a seam: a hash of its source without comments, docstrings and formatting.

It is the same on every version of Python that we support.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_IGNORED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params"})


def fingerprint(owner: Any, name: str) -> str:
    """The fingerprint of ``name`` in ``owner``, a class or a module: 16 hex digits; '' if the source lacks it.

    It looks for a definition in the class and its base classes. Without one, it hashes all assignments to an attribute
    of that name in their methods.
    """
    places = owner.__mro__[:-1] if isinstance(owner, type) else (owner,)
    for place in places:
        if found := list(_definitions(_tree(place), name)):
            return _digest(found)
    found = [node for place in places for node in _assignments(_tree(place), name)]
    return _digest(found) if found else ""


def _digest(nodes: list[ast.AST]) -> str:
    return hashlib.sha256("\n".join(map(normal, nodes)).encode()).hexdigest()[:16]


def normal(node: Any) -> str:
    """``node`` as text: its structure and its values, without positions, comments and docstrings."""
    if isinstance(node, list):
        return f"[{','.join(map(normal, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={normal(part)}" for name, part in _parts(node) if part is not None and part != []]
    return f"{type(node).__name__}({','.join(fields)})"


def _parts(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, part in ast.iter_fields(node):
        if name in _IGNORED:
            continue
        yield name, (_without_docstring(part) if name == "body" and isinstance(part, list) else part)


def _without_docstring(body: list[ast.AST]) -> list[ast.AST]:
    first = body[0] if body else None
    is_text = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body


def _definitions(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """The definitions of ``name`` in the body of a class or module, also inside ``if``, ``try`` or ``with``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (_Function, ast.ClassDef)):
            if node.name == name:
                yield node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            if name in _targets(node):
                yield node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(name == (alias.asname or alias.name) for alias in node.names):
                yield node
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            yield from _definitions(node, name)


def _assignments(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """The statements that set an attribute ``name`` of any object."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            if f".{name}" in _targets(node):
                yield node
        elif isinstance(node, ast.Call) and name in _updated(node):
            yield node


def _updated(call: ast.Call) -> set[str | None]:
    """The names in ``self.__dict__.update(name=…)``."""
    is_update = isinstance(call.func, ast.Attribute) and call.func.attr == "update"
    return {given.arg for given in call.keywords} if is_update else set()


def _targets(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> set[str]:
    """The names that a statement assigns to; an attribute's name begins with a dot."""
    found = node.targets if isinstance(node, ast.Assign) else [node.target]
    flat = [each for target in found for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    names = {each.id for each in flat if isinstance(each, ast.Name)}
    return names | {f".{each.attr}" for each in flat if isinstance(each, ast.Attribute)}


@cache
def _tree(place: Any) -> ast.AST:
    """The syntax tree of a class or module; empty without source (a built-in)."""
    module = place if isinstance(place, ModuleType) else inspect.getmodule(place)
    if module is None:
        return ast.Module([], [])
    tree: ast.AST = _module_tree(module)
    if isinstance(place, ModuleType):
        return tree
    for name in _qualified(place).split("."):
        tree = next(
            (node for node in _definitions(tree, name) if isinstance(node, ast.ClassDef)), ast.Module([], [])
        )
    return tree


def _qualified(kind: type) -> str:
    """The qualified name of a class in its module; some Celery classes prefix it with the module, or hide it."""
    name: str = vars(type)["__name__"].__get__(kind)
    where = str(kind.__qualname__).removeprefix(f"{kind.__module__}.")
    return where if where.rpartition(".")[2] == name else name


@cache
def _module_tree(module: ModuleType) -> ast.Module:
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError):
        return ast.Module([], [])


__all__ = ["fingerprint", "normal"]
