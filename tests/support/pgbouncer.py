"""PgBouncer in transaction mode in front of a PostgreSQL of ``servers.py``."""

from __future__ import annotations

import os
import shutil
from typing import Any

from servers import Postgres, Server, missing


class PgBouncer(Server):
    """A pooler with two server connections: each transaction may get either."""

    program = "pgbouncer"

    def __init__(self, postgres: Postgres) -> None:
        self.binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if not self.binary:
            missing("pgbouncer", "pgbouncer")
        super().__init__()
        self.postgres = postgres
        self.config = self.home / "pgbouncer.ini"
        self.config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=shop\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n"
        )
        if os.getuid() == 0:  # PgBouncer refuses to run as root
            for path in (self.home, self.config):
                shutil.chown(path, "postgres", "postgres")

    def popen_options(self) -> dict[str, Any]:
        return self.postgres.popen_options()

    @property
    def url(self) -> str:
        return self.of(self.postgres.url)

    def of(self, url: str) -> str:
        """``url``, a database of the server, through this pooler."""
        return url.replace(f":{self.postgres.port}/", f":{self.port}/")

    def command(self) -> list[str]:
        return [str(self.binary), str(self.config)]

    def ping(self) -> Any:
        import psycopg

        url = self.url.replace("+psycopg", "")
        with psycopg.connect(url, connect_timeout=2, prepare_threshold=None) as connection:
            return connection.execute("select 1").fetchone()
