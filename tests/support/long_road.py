"""A distant server: a TCP proxy in this process that delays what passes."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from servers import Server


class LongRoad:
    """A TCP proxy that takes ``seconds`` each way, as a distant server does; bytes keep their order.

    ``round_trips`` counts how often the client sent something after an answer had reached it. ``deaf_to``: when the
    client has sent this text, no answer reaches it any more, until ``hears``.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.round_trips = 0
        self.deaf_to = b""
        self._deaf = False
        self._answered = True
        self._target, self._seconds = port, seconds
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self.port = self._listening.getsockname()[1]
        self._start(self._accept)

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for here, there in ((client, server), (server, client)):
                waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                self._start(self._read, here, waiting, here is client)
                self._start(self._write, there, waiting, there is client)

    def _read(self, here: socket.socket, waiting: Any, from_client: bool) -> None:
        while data := here.recv(65536):
            if from_client and self._answered:
                self.round_trips += 1
                self._answered = False
            if from_client and self.deaf_to and self.deaf_to in data:
                self._deaf = True
            waiting.put((time.monotonic() + self._seconds, data))
        waiting.put((0, b""))

    def _write(self, there: socket.socket, waiting: Any, to_client: bool) -> None:
        while (item := waiting.get())[1]:
            time.sleep(max(0.0, item[0] - time.monotonic()))
            if to_client:
                self._answered = True
                if self._deaf:
                    continue
            there.sendall(item[1])
        there.close()

    def hears(self) -> None:
        """Pass answers on again."""
        self.deaf_to, self._deaf = b"", False

    def _start(self, run: Any, *args: Any) -> None:
        def quietly() -> None:
            with suppress(OSError):
                run(*args)

        threading.Thread(target=quietly, daemon=True).start()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


@contextmanager
def far_away(server: Server, seconds: float, url: str = "") -> Iterator[tuple[str, LongRoad]]:
    """``url`` (default: a fresh one) of ``server`` by a road that takes ``seconds`` each way, and the road."""
    road = LongRoad(server.port, seconds)
    try:
        yield (url or server.fresh_url()).replace(f":{server.port}/", f":{road.port}/"), road
    finally:
        road.close()
