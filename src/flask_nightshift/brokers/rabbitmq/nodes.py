"""The nodes of a RabbitMQ cluster: connections begin at one that is not known to be away.

kombu goes on to the next URL when a connection cannot be made, but each new connection begins at the first. A node that
is silent would cost each of them all the time that there is.
"""

from __future__ import annotations

from typing import Any

from ..connections import Connection


class Nodes:
    """The URLs of ``NIGHTSHIFT_BROKER_URL``, and at which one to begin."""

    def __init__(self, url: str) -> None:
        self._urls = [node for node in url.split(";") if node]
        self._first = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def url(self) -> str:
        """All of them, in the order in which they are to be tried."""
        first = self._first
        return ";".join(self._urls[first:] + self._urls[:first])

    def failed(self, url: str) -> None:
        """No connection to ``url`` could be made: begin at the next one, unless somebody has noticed already."""
        if self._urls[self._first] == url:
            self._first = (self._first + 1) % len(self._urls)

    def connect(self, **options: Any) -> Connection:
        """A connection to the first of them that answers; it is made when it is needed."""
        return _Connection(self.url, nodes=self, **options)


class _Connection(Connection):
    def __init__(self, hostname: str, *args: Any, nodes: Nodes | None = None, **options: Any) -> None:
        self._nodes, self._url = nodes, hostname.partition(";")[0]
        super().__init__(hostname, *args, **options)

    def switch(self, conn_str: str) -> None:
        """Go on to another URL."""
        super().switch(conn_str)
        self._url = conn_str

    def _establish_connection(self) -> Any:
        try:
            return super()._establish_connection()
        except Exception:
            if self._nodes is not None:  # it is, in a clone that kombu makes
                self._nodes.failed(self._url)
            raise
