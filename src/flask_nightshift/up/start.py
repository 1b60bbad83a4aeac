"""Runs a whole app in one terminal: the broker (if embedded), web, workers, Beat, and the app's own processes."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence

import click
from flask import Flask
from flask.cli import ScriptInfo

from .. import services
from ..brokers import require_shared
from ..errors import DatabaseUnavailable
from ..web.dashboard import guard
from .processes import BROKER, Processes

HOST = "127.0.0.1"
WITH_BEAT = frozenset({"--beat", "-B"})
"""The option of a worker that runs Beat."""


def up(
    app: Flask,
    *,
    port: int = 8000,
    also: Mapping[str, str | Sequence[str]] | None = None,
    workers: Mapping[str, Sequence[str]] | None = None,
    hints: str = "",
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run ``app`` with all its processes until Ctrl-C, SIGTERM or the end of one of them.

    ``also`` maps the names of further processes to their commands, which run without a shell. ``workers`` maps the
    names of workers to options of ``flask jobs worker`` (default: one worker for all queues, with ``--beat``). If no
    worker has ``--beat``, Beat has a process of its own. ``hints``, in rich's markup, is printed when everything is
    ready. ``environ`` is added to the environment of every process.

    Returns the exit code: 0 after a stop by signal, the code of a process that ended by itself, or 1 if a process had
    to be killed. Raises ``click.ClickException`` if the port is taken or the database cannot be used, and
    ``ConfigurationError`` for the broker ``memory://``.
    """
    here = services.current(app)
    require_shared(here.broker)
    need_port(port)
    try:
        for store in here.outboxes:
            store.migrate()
    except DatabaseUnavailable as exc:
        raise click.ClickException(f"The database cannot be migrated: {exc}") from exc
    environ = {**_environment(), "PORT": str(port), **(environ or {})}
    environ.setdefault(guard.UP_KEY, secrets.token_hex())
    processes = Processes(here, f"http://{HOST}:{port}", hints, environ)
    if here.broker.capabilities.started_by_us:
        processes.add(BROKER, _flask("jobs", "broker"))
    for name, command in (also or {}).items():
        processes.add(name, shlex.split(command) if isinstance(command, str) else command)
    processes.add("web", _web(port, here.settings.stop_grace))
    workers = workers or {"worker": ("--beat",)}
    for name, options in workers.items():
        processes.add(name, _flask("jobs", "worker", "--name", f"{name}@{socket.gethostname()}", *options))
    if not any(WITH_BEAT.intersection(options) for options in workers.values()):
        processes.add("beat", _flask("jobs", "beat"))
    return processes.run()


def web_app() -> Flask:
    """The app that ``FLASK_APP`` names, for ``gunicorn 'flask_nightshift.up.start:web_app()'``."""
    return ScriptInfo(app_import_path=os.environ.get("FLASK_APP")).load_app()


def need_port(port: int) -> None:
    """Raise ``click.ClickException`` if ``port`` of 127.0.0.1 is not free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as exc:
            raise click.ClickException(
                f"Port {port} of {HOST} cannot be used ({exc.strerror}); is this app running in another terminal? "
                f"Choose another port with PORT=, such as PORT={port + 1}."
            ) from None


def _environment() -> dict[str, str]:
    """Our environment, plus variables that select the same app and let a pipe to a terminal count as a terminal."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environ.setdefault("NIGHTSHIFT_HTTP_ACCESS", "local")  # web listens on this machine only, without a proxy
    context = click.get_current_context(silent=True)
    info = context.find_object(ScriptInfo) if context else None
    if info is not None and info.app_import_path:
        environ["FLASK_APP"] = str(info.app_import_path)
    if sys.stdout.isatty():
        environ.setdefault("FORCE_COLOR", "1")
        environ.setdefault("NIGHTSHIFT_LOG_FORMAT", "console")
    return environ


def _flask(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask", *words]


def _web(port: int, grace: float) -> list[str]:
    """The command of the web process: gunicorn if it is installed, else Flask's own server."""
    if importlib.util.find_spec("gunicorn") is None:
        return _flask("run", "--host", HOST, "--port", str(port), "--no-reload")
    options = [f"--bind={HOST}:{port}", "--workers=2", "--threads=4", f"--graceful-timeout={grace:.0f}"]
    return [sys.executable, "-m", "gunicorn", *options, "--no-control-socket", f"{__name__}:web_app()"]


__all__ = ["need_port", "up", "web_app"]
