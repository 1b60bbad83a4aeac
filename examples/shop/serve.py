"""Serves a small WSGI app until SIGTERM or Ctrl-C, for the local helpers."""

from __future__ import annotations

import logging
import signal
import threading

from werkzeug.serving import BaseWSGIServer


def until_stopped(server: BaseWSGIServer) -> None:
    """Serve in this thread; returns after SIGTERM or SIGINT."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line per request

    def stop(_number: int, _frame: object) -> None:
        threading.Thread(target=server.shutdown).start()  # shutdown() waits for serve_forever()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever()
