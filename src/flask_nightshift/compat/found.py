"""Finds a seam in the installed library: whether it exists, and its signature.

Nothing here reads source code, so it is fast enough for the start of a process.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .seam import Seam

_VARARGS, _VARKEYWORDS = 0x04, 0x08


def module_of(seam: Seam, *, load: bool) -> ModuleType | None:
    """The module of the seam; None if it is not imported, or, with ``load``, if it cannot be imported."""
    name = seam.owner.partition(":")[0]
    if not load:
        return sys.modules.get(name)
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def owner_in(module: ModuleType, seam: Seam) -> Any:
    """The class of the seam, or ``module`` itself; None if the class does not exist."""
    found: Any = module
    for name in filter(None, seam.owner.partition(":")[2].split(".")):
        found = vars(found).get(name)
        if found is None:
            return None
    return found


def exists(owner: Any, name: str) -> bool:
    """Whether ``owner`` or a base class defines ``name``, or has methods that use an attribute of that name."""
    return any(name in vars(place) or name in _mentioned(place) for place in _places(owner))


def value(owner: Any, name: str) -> Any:
    """The unbound value of ``name`` in ``owner`` or a base class; None for an attribute that methods set."""
    for place in _places(owner):
        if name in vars(place):
            return vars(place)[name]
    return None


def signature(defined: Any, library: str) -> str | None:
    """The parameters of a function, ``(self, queue, no_ack=, **kwargs)``; '' for anything else.

    None if another library has replaced the function, as monitoring tools do.
    """
    function = _plain(defined)
    if not isinstance(function, FunctionType):
        return ""
    if str(function.__globals__.get("__name__", "")).partition(".")[0] != library:
        return None
    return f"({', '.join(_parameters(function))})"


def _parameters(function: FunctionType) -> Iterator[str]:
    code = function.__code__
    names = code.co_varnames
    plain, only = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    rest = iter(names[only:])
    required = plain - len(function.__defaults__ or ())
    for at, name in enumerate(names[:plain]):
        yield name if at < required else f"{name}="
    if code.co_flags & _VARARGS:
        yield f"*{next(rest)}"
    elif only > plain:
        yield "*"
    for name in names[plain:only]:
        yield f"{name}=" if name in (function.__kwdefaults__ or {}) else name
    if code.co_flags & _VARKEYWORDS:
        yield f"**{next(rest)}"


def _plain(defined: Any) -> Any:
    """The function inside a property, a class method, or a decorator that sets ``__wrapped__``."""
    if isinstance(defined, (staticmethod, classmethod)):
        return _plain(defined.__func__)
    if isinstance(defined, property):
        return _plain(defined.fget)
    if isinstance(defined, cached_property):
        return _plain(defined.func)
    if isinstance(defined, FunctionType) and hasattr(defined, "__wrapped__"):
        return _plain(defined.__wrapped__)
    return defined


def _places(owner: Any) -> tuple[Any, ...]:
    return owner.__mro__[:-1] if isinstance(owner, type) else (owner,)


@cache
def _mentioned(place: Any) -> frozenset[str]:
    """The names of all attributes that the functions of a class or module use."""
    if isinstance(place, ModuleType):
        return frozenset()
    codes = [each.__code__ for each in map(_plain, vars(place).values()) if isinstance(each, FunctionType)]
    return frozenset(name for code in codes for name in _names(code))


def forget() -> None:
    """Free the memory of what was found."""
    _mentioned.cache_clear()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


__all__ = ["exists", "forget", "module_of", "owner_in", "signature", "value"]
