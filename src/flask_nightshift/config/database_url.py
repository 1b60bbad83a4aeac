"""Chooses the history database: ``NIGHTSHIFT_DATABASE_URL``, else the app's, else SQLite in the instance folder.

An error names the key that holds the wrong URL. If that is the app's key, it says which of our keys to set instead.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigurationError
from ..text.passwords import refused_url

KEY = "NIGHTSHIFT_DATABASE_URL"
APP_KEY = "SQLALCHEMY_DATABASE_URI"
DEFAULT = "sqlite:///nightshift.sqlite3"
DRIVERS = ("psycopg", "psycopg2")
"""Drivers for PostgreSQL; the first installed one is used."""
_ALLOWED = "a sqlite:// or postgresql:// URL"
_ELSEWHERE = f"Nightshift keeps its history in SQLite or PostgreSQL: set {KEY} to {_ALLOWED}"


def checked(key: str, value: Any) -> str:
    """``value``, a text or a ``sqlalchemy.URL``, as the text of a URL; raises ``ConfigurationError``."""
    try:
        url = make_url(value)
    except (ArgumentError, AttributeError, ValueError):
        allowed = "a SQLAlchemy URL, such as postgresql://user@host/name"
        raise ConfigurationError(key, refused_url(value), allowed) from None
    return value if isinstance(value, str) else url.render_as_string(hide_password=False)


def resolve(app: Flask, given: str | None) -> str:
    """The URL of the history database, with its driver and an absolute path.

    ``given`` is the value of ``NIGHTSHIFT_DATABASE_URL``, or None. Raises ``ConfigurationError``.
    """
    apps = app.config.get(APP_KEY)
    key = KEY if given or not apps else APP_KEY
    text = checked(key, given or apps or DEFAULT)
    url = with_driver(make_url(text), key)
    if url.get_backend_name() == "sqlite" and in_memory(url) and not app.testing:
        raise ConfigurationError(
            key,
            text,
            "a database in memory belongs to one process and ends with it: "
            f"set {KEY} to a file or a server; in tests set TESTING before init_app()",
        )
    return _in_folder(url, app.instance_path).render_as_string(hide_password=False)


def other_of_app(app: Flask, history: str) -> str | None:
    """The URL of the app's own database, resolved; None if it is the one at ``history``, or we do not support it.

    A database in memory is not one either: no other connection reaches it.
    """
    try:
        url = _in_folder(with_driver(make_url(app.config.get(APP_KEY) or "")), app.instance_path)
    except (ArgumentError, AttributeError, ValueError):
        return None
    if (url.get_backend_name() == "sqlite" and in_memory(url)) or place(url) == place(make_url(history)):
        return None
    return url.render_as_string(hide_password=False)


def place(url: URL) -> tuple[object, ...]:
    """Where the database at ``url`` is, without driver, user and options; equal places are the same database."""
    if url.get_backend_name() == "sqlite":
        return "sqlite", url.database if in_memory(url) else str(Path(url.database or "").resolve())
    host, port = url.host or url.query.get("host", ""), url.port or url.query.get("port", 5432)
    return url.get_backend_name(), host, str(port), url.database or url.username


def is_apps(app: Flask, url: str) -> bool:
    """Whether ``url`` (resolved) is a SQLite file that the app uses too (Flask-SQLAlchemy's URI or binds)."""
    binds = [
        bind.get("url") if isinstance(bind, dict) else bind
        for bind in (app.config.get("SQLALCHEMY_BINDS") or {}).values()
    ]
    mine = _file(app, url)
    return mine is not None and mine in [_file(app, each) for each in (app.config.get(APP_KEY), *binds)]


def _file(app: Flask, url: Any) -> Path | None:
    """The file of a SQLite URL; None for any other."""
    try:
        found = _in_folder(make_url(url), app.instance_path)
    except (ArgumentError, AttributeError, ValueError):
        return None
    if found.get_backend_name() != "sqlite" or in_memory(found):
        return None
    return Path(found.database or "").resolve()


def with_driver(url: URL, key: str = KEY) -> URL:
    """``url`` with an installed driver; raises ``ConfigurationError`` if there is none, or for another database."""
    backend, _, driver = url.drivername.partition("+")
    if backend == "sqlite" and driver in ("", "pysqlite"):
        return url.set(drivername="sqlite")
    if backend in ("postgres", "postgresql") and driver in ("", *DRIVERS):
        wanted = [driver] if driver else DRIVERS
        for found in (each for each in wanted if importlib.util.find_spec(each)):
            return url.set(drivername=f"postgresql+{found}")
        remedy = f"{' or '.join(wanted)} is not installed: pip install 'Flask-Nightshift[postgres]'"
        raise ConfigurationError(key, url.render_as_string(hide_password=True), remedy)
    allowed = _ELSEWHERE if key == APP_KEY else _ALLOWED
    if backend in ("sqlite", "postgres", "postgresql"):
        allowed += f", with the driver {' or '.join(DRIVERS)} or with none"
    raise ConfigurationError(key, url.render_as_string(hide_password=True), allowed)


def in_memory(url: URL) -> bool:
    """Whether a SQLite URL means a database in memory."""
    path = url.database or ":memory:"
    return ":memory:" in path or "mode=memory" in path or url.query.get("mode") == "memory"


def _in_folder(url: URL, folder: str) -> URL:
    """``url`` with a relative SQLite path made absolute in ``folder``, as Flask-SQLAlchemy does."""
    path = url.database
    if url.get_backend_name() != "sqlite" or not path or path.startswith((":memory:", "file:")):
        return url
    return url.set(database=str(Path(folder) / path))


__all__ = [
    "APP_KEY",
    "KEY",
    "checked",
    "in_memory",
    "is_apps",
    "other_of_app",
    "place",
    "resolve",
    "with_driver",
]
