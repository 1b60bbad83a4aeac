"""Names that users write do not change: in imports, settings, calls, logging configuration, and on the command line."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.utils.imports import symbol_by_name
from flask import Flask

import flask_nightshift
from flask_nightshift import ConfigurationError, Nightshift

from . import sources
from .app import create_app, jobs
from .commands import group, walk
from .conftest import FILES, Golden
from .normal import Normal

PLACES = "names/places.txt"
_SIMPLE = (type(None), bool, int, float, str)
_OPTIONS = (
    "Request", "Strategy", "acks_on_failure", "acks_on_timeout", "after_return", "base", "before_start", "bind",
    "compression", "delivery_mode", "exchange", "exchange_type", "immediate", "lazy", "mandatory", "name", "on_failure",
    "on_replace", "on_retry", "on_success", "pydantic", "queue", "retry_on_worker_lost", "routing_key", "shadow_name",
    "shared",
)  # fmt: skip
"""Of a task, beside what can be seen on it."""


class Wrong:
    """A value that no setting and no option takes."""

    def __repr__(self) -> str:
        return "<wrong>"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    made = create_app(INSTANCE=str(tmp_path))
    yield made
    jobs.close(made)


def test_public_api(app: Flask, golden: Golden) -> None:
    api = {name: _described(getattr(flask_nightshift, name)) for name in sorted(flask_nightshift.__all__)}
    task = type(app.extensions["celery"].tasks["golden.plain"])
    ways = ("delay", "apply_async", "apply", "enqueue_many", "retry", "progress", "s", "si", "signature")
    golden({"names/api.json": {**api, "a task": {way: _signature(getattr(task, way)) for way in ways}}})


def _described(public: Any) -> Any:
    if issubclass(public, enum.Enum):
        return {member.name: str(member.value) for member in public}
    ours = [kind for kind in public.__mro__ if kind.__module__.startswith("flask_nightshift")]
    members = {
        name: value
        for kind in reversed(ours)
        for name, value in vars(kind).items()
        if not name.startswith("_")
    }
    return {
        "bases": [kind.__name__ for kind in public.__mro__[1:-1]],
        "call": _signature(public),
        "members": {name: _member(value) for name, value in sorted(members.items())},
    }


def _member(value: Any) -> str:
    function = getattr(value, "__func__", value)
    return _signature(function) if inspect.isfunction(function) else "attribute"


def _signature(function: Any) -> str:
    """The parameters and their defaults, without types, which may become more exact."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # an exception without a constructor of its own
        return "(*args)"
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def test_settings_with_their_defaults_and_what_they_take(app: Flask, tmp_path: Path, golden: Golden) -> None:
    listed = _refused_setting("NIGHTSHIFT_THERE_IS_NO_SUCH_SETTING").partition("the settings are")[2]
    names = re.findall(r"NIGHTSHIFT_\w+", listed)
    assert names
    settings = app.extensions["nightshift"].settings
    defaults = {key: getattr(settings, key.removeprefix("NIGHTSHIFT_").lower()) for key in names}
    told = {key: {"default": defaults[key], "refusal": _refused_setting(key)} for key in names}
    golden({"names/settings.json": Normal({str(tmp_path): "<instance>"})(told)})


def _refused_setting(key: str) -> str:
    app = Flask("wrong")
    app.config[key] = Wrong()
    with pytest.raises(ConfigurationError) as refused:
        Nightshift(app)
    return str(refused.value)


def test_options_of_a_task_with_their_defaults_and_what_they_take(app: Flask, golden: Golden) -> None:
    task = app.extensions["celery"].tasks["golden.plain"]
    seen = {name: getattr(task, name) for name in dir(task) if not name.startswith("_")}
    defaults = {name: _shown(value) for name, value in seen.items() if _is_simple(value)}
    names = sorted({*defaults, *_OPTIONS})
    told = {name: {"default": defaults.get(name), "refusal": _refused_option(name)} for name in names}
    golden({"names/task-options.json": told})


def _is_simple(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_simple, value))
    return isinstance(value, (*_SIMPLE, dict)) or (
        isinstance(value, type) and issubclass(value, BaseException)
    )


def _shown(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return list(map(_shown, value))
    return value.__name__ if isinstance(value, type) else value


def _refused_option(name: str) -> str | None:
    try:
        Nightshift().task(**{"name": "golden.wrong", name: Wrong()})(lambda: None)
    except ConfigurationError as exc:
        return str(exc)
    return None


def test_help_of_every_command(golden: Golden) -> None:
    golden({"names/help.txt": "\n\n\n".join(context.get_help() for context in walk(group()))})


def test_loggers_and_their_events(golden: Golden) -> None:
    told = {name: sorted(events) for name, events in sources.loggers().items()}
    golden({"names/loggers.json": dict(sorted(told.items()))})


def _known_places() -> set[str]:
    path = FILES / PLACES
    return set(path.read_text().split()) if path.exists() else set()


def test_names_in_texts_are_known(updating: bool, golden: Golden) -> None:
    """Names are added to the file and never go: settings of users still say the old ones."""
    known, now = _known_places(), sources.places()
    if updating:
        golden({PLACES: "\n".join(sorted(known | now))})
    assert now <= known | (now if updating else set())


@pytest.mark.parametrize("place", sorted(_known_places()))
def test_names_in_texts_can_be_imported(place: str) -> None:
    assert symbol_by_name(place) is not None
