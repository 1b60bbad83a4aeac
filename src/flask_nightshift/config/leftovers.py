"""Finds keys in ``app.config`` or the environment that look like settings but have no effect.

They are settings of an app that used Celery before, and misspelt ``NIGHTSHIFT_*`` variables. ``init_app`` and
``flask jobs doctor`` warn about them. They are not errors, because other code may use them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask

from .celery_settings import current_name, remedy
from .settings import PREFIX, Settings, unknown_setting

_OLD_PREFIXES = ("CELERY_", "CELERYD_", "CELERYBEAT_")
_NOT_SETTINGS = frozenset({"CELERY_LOADER", "CELERY_CONFIG_MODULE"})


@dataclass(frozen=True, slots=True)
class IneffectiveSetting:
    """The key ``name`` in ``where`` has no effect; ``remedy`` says what to do. Its value may be secret."""

    name: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} in {self.where} has no effect: {self.remedy}"


def leftovers(app: Flask, settings: Settings) -> list[IneffectiveSetting]:
    """All leftovers, except those whose value is in effect anyway."""
    return [*_in_config(app.config, settings), *_in_environment(settings)]


def _in_config(config: Mapping[str, Any], settings: Settings) -> Iterator[IneffectiveSetting]:
    where = "app.config"
    old = config.get("CELERY")
    if isinstance(old, Mapping):
        for name, value in old.items():
            present = current_name(str(name))
            if present is not None and not _is_so(present, value, settings):
                yield IneffectiveSetting(f"CELERY[{name!r}]", where, remedy(present))
    for key, value in config.items():
        if key.startswith((*_OLD_PREFIXES, "BROKER_")):
            yield from _old_setting(key, value, where, settings)


def _in_environment(settings: Settings) -> Iterator[IneffectiveSetting]:
    where = "the environment"
    for key, value in sorted(os.environ.items()):
        if key.startswith(_OLD_PREFIXES) and value:
            yield from _old_setting(key, value, where, settings)
        elif key.startswith(PREFIX) and (hint := unknown_setting(key)):
            yield IneffectiveSetting(key, where, f"there is no such setting; {hint}")


def _old_setting(key: str, value: Any, where: str, settings: Settings) -> Iterator[IneffectiveSetting]:
    present = current_name(key)
    if present is not None and key not in _NOT_SETTINGS and not _is_so(present, value, settings):
        yield IneffectiveSetting(key, where, remedy(present))


def _is_so(present: str, value: Any, settings: Settings) -> bool:
    """Whether Celery's setting ``present`` has that value in effect."""
    if present in ("broker_url", "broker_read_url", "broker_write_url"):
        return bool(value == settings.broker_url)
    if present == "result_backend":
        return bool(value == settings.result_backend)
    return present in settings.celery and settings.celery[present] == value


__all__ = ["IneffectiveSetting", "leftovers"]
