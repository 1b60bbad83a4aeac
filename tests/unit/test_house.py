"""No two modules import each other, not even for type annotations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import flask_nightshift

HOUSE = Path(flask_nightshift.__file__).parent


def test_no_circles() -> None:
    modules = dict(_modules())
    graph = {name: set(_imports(name, tree, modules)) for name, tree in modules.items()}
    assert len(graph) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        raise AssertionError(f"these import each other: {' <- '.join(exc.args[1])}") from None


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for file in HOUSE.rglob("*.py"):
        parts = file.relative_to(HOUSE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(file.read_text())
        yield name + (".__init__" if parts[-1] == "__init__" else ""), tree


def _imports(name: str, tree: ast.Module, modules: dict[str, ast.Module]) -> Iterator[str]:
    package = name.rpartition(".")[0].split(".")
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
        for alias in node.names:
            for found in (f"{base}.{alias.name}", f"{base}.{alias.name}.__init__", base, f"{base}.__init__"):
                if found in modules:
                    if found != name:
                        yield found
                    break
