"""Redis servers reached over TLS, over a unix socket, or through Sentinel."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import redis

from places import ROOT
from servers import RedisServer, Server, Valkey, wait_for


class Secure(RedisServer):
    """A Redis with TLS only; our Valkey is built without TLS."""

    def command(self) -> list[str]:
        plain = [part if part != "--port" else "--tls-port" for part in super().command()]
        files = {"cert": "server.crt", "key": "server.key", "ca-cert": "server.crt"}
        options = [
            word for name, file in files.items() for word in (f"--tls-{name}-file", str(self.home / file))
        ]
        return [*plain, "--port", "0", *options, "--tls-auth-clients", "no"]

    @property
    def url(self) -> str:
        return f"rediss://:{self.password}@localhost:{self.port}/0"

    @property
    def certificate(self) -> str:
        return str(self.home / "server.crt")

    def start(self) -> Server:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", self.home / "server.key",
             "-out", self.home / "server.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        return super().start()

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(port=self.port, password=self.password, ssl=True, ssl_ca_certs=self.certificate)


PAGE = (ROOT / "docs/how-to/managed-redis.md").read_text()
ACL_LINES = re.findall(r"^(ACL SETUSER nightshift .*)$", PAGE, re.MULTILINE)
"""What ``docs/how-to/managed-redis.md`` publishes; the last line is for Redis 7.2 or later."""
MAY_BE_REFUSED = {"command config|get"}
"""What Nightshift asks and does without."""


class Managed(RedisServer):
    """A Redis whose URL is that of the published user, who may use the queues of the tests, too."""

    program = "managed-redis"
    queues = ("other", "eu.mail", "elsewhere", "another", "routed")

    @property
    def url(self) -> str:
        return f"redis://nightshift:s3cret@127.0.0.1:{self.port}/0"

    def client(self, url: str | None = None) -> Any:
        """A client of the administrator."""
        return super().client(url or f"redis://:{self.password}@127.0.0.1:{self.port}/0")

    def _serves(self) -> Any:
        if not super()._serves():
            return False
        with self.client() as client:
            knows_setinfo = client.info("server")["redis_version"] >= "7.2"
            for line in ACL_LINES if knows_setinfo else ACL_LINES[:-1]:
                client.execute_command(*line.split())
            client.execute_command("ACL", "SETUSER", "nightshift", *(f"~{queue}*" for queue in self.queues))
        return True

    def forget(self) -> None:
        """Begin to count refusals and commands."""
        with self.client() as client:
            client.execute_command("ACL", "LOG", "RESET")
            client.config_resetstat()

    def refused(self) -> set[str]:
        """What was refused that is not expected: ``command zadd``, ``key …``."""
        with self.client() as client:
            return {f"{entry['reason']} {entry['object']}" for entry in client.acl_log()} - MAY_BE_REFUSED


class OnSocket(Valkey):
    """A Valkey on a unix socket."""

    @property
    def url(self) -> str:
        return f"redis+socket://:{self.password}@{self.home}/s?virtual_host=3"

    def command(self) -> list[str]:
        plain = super().command()
        plain[plain.index("--port") + 1] = "0"
        return [*plain, "--unixsocket", str(self.home / "s")]

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(unix_socket_path=str(self.home / "s"), db=3, password=self.password)


class Node(Valkey):
    """A Valkey that also knows the master's password, so that it can be a replica."""

    def command(self) -> list[str]:
        return [*super().command(), "--masterauth", self.password, "--repl-diskless-sync-delay", "0"]

    @property
    def role(self) -> str:
        """``master`` or ``slave``."""
        return str(self.client().info("replication")["role"])


class SentinelNode(RedisServer):
    """A Sentinel that watches ``master``."""

    program = "sentinel"
    newer = False

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self.settings = self.home / "sentinel.conf"
        self.settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.home}\n"
            f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass shop {master.password}\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://:{self.password}@127.0.0.1:{self.port}"

    def binary(self) -> str:
        return Valkey().binary()

    def command(self) -> list[str]:
        return [self.binary(), str(self.settings), "--sentinel"]

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(port=self.port, socket_timeout=5)

    def start(self) -> Server:
        super().start()
        self.client().execute_command("SENTINEL", "DEBUG", "info-period", 500)  # ms; the default is 10 s
        return self


class Group:
    """A master, its replica, and a Sentinel that watches them under the name ``shop``."""

    def __init__(self, start: Any) -> None:
        self.master, self.replica = start(Node()), start(Node())
        self.replica.client().replicaof("127.0.0.1", self.master.port)
        wait_for(
            lambda: self.replica.client().info("replication")["master_link_status"] == "up", 10, "no replica"
        )
        self.sentinel = start(SentinelNode(self.master))
        wait_for(lambda: self.sentinel.client().sentinel_slaves("shop"), 15, "Sentinel sees no replica")

    def replicated(self) -> None:
        """Wait until the replica has the master's data."""
        with self.master.client() as client:
            client.incr("replicated")
            assert client.wait(1, 5000) == 1

    def switch_by_hand(self) -> None:
        """Swap the roles, as an operator would: no connection is cut, and the old master answers READONLY."""
        self.replica.client().replicaof("NO", "ONE")
        with self.sentinel.client() as client:
            client.sentinel_remove("shop")
            client.sentinel_monitor("shop", "127.0.0.1", self.replica.port, 1)
            client.sentinel_set("shop", "auth-pass", self.replica.password)
        self.master.client().replicaof("127.0.0.1", self.replica.port)

    def switched(self) -> None:
        """Wait until the replica is the master and Sentinel reports it."""
        wait_for(lambda: self.replica.role == "master", 20, "no failover")
        wait_for(
            lambda: self.sentinel.client().sentinel_get_master_addr_by_name("shop")[1] == self.replica.port,
            10, "Sentinel names the old master",
        )  # fmt: skip
