"""Changes a library at import, as a new version of it might."""

from __future__ import annotations

import sys
import textwrap
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def change(module: str, owner: str, name: str, how: str) -> None:
    """At the next import of ``module``, rename ``owner.name`` everywhere in it, or define it as ``how``."""
    sys.meta_path.insert(0, _Finder(module, owner, name, how))


class _Finder(MetaPathFinder):
    def __init__(self, module: str, owner: str, name: str, how: str) -> None:
        self._module, self._change = module, (owner, name, how)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        spec.loader = _Changing(spec.loader, *self._change)
        return spec


class _Changing(Loader):
    def __init__(self, loader: Any, owner: str, name: str, how: str) -> None:
        self._loader, self._owner, self._name, self._how = loader, owner, name, how

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        code = self._loader.get_source(module.__name__)
        if self._how == "renamed":
            exec(
                compile(code.replace(self._name, f"{self._name}_anew"), str(module.__file__), "exec"),
                vars(module),
            )
            return
        exec(compile(code, str(module.__file__), "exec"), vars(module))
        given: dict[str, Any] = {}
        exec(textwrap.dedent(self._how), vars(module), given)
        setattr(getattr(module, self._owner), self._name, given[self._name])


__all__ = ["change"]
