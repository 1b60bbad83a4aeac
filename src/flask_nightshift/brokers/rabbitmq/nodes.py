"""The nodes of a RabbitMQ cluster: a new connection first tries a node that is not known to be down.

kombu tries the next URL when a connection fails, but each new connection begins at the first URL. A silent node would
use up the whole time limit of each.
"""

from __future__ import annotations

from typing import Any

from ..connections import Connection


class Nodes:
    """The URLs of ``NIGHTSHIFT_BROKER_URL``, and which one to try first."""

    def __init__(self, url: str) -> None:
        self._urls = [node for node in url.split(";") if node]
        self._first = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def url(self) -> str:
        """All URLs, separated by ``;``, in the order in which to try them."""
        first = self._first
        return ";".join(self._urls[first:] + self._urls[:first])

    def failed(self, url: str) -> None:
        """Record that no connection to ``url`` succeeded; if it is the first URL, begin at the next one."""
        if self._urls[self._first] == url:
            self._first = (self._first + 1) % len(self._urls)

    def connect(self, **options: Any) -> Connection:
        """A connection to the first node that answers; it connects on first use."""
        return _Connection(self.url, nodes=self, **options)


class _Connection(Connection):
    def __init__(self, hostname: str, *args: Any, nodes: Nodes | None = None, **options: Any) -> None:
        self._nodes, self._url = nodes, hostname.partition(";")[0]
        super().__init__(hostname, *args, **options)

    def switch(self, conn_str: str) -> None:
        """Switch to another URL."""
        super().switch(conn_str)
        self._url = conn_str

    def _establish_connection(self) -> Any:
        try:
            return super()._establish_connection()
        except Exception:
            if self._nodes is not None:  # it is None in kombu's clones of a connection
                self._nodes.failed(self._url)
            raise
