"""gunicorn in the container: read from the working directory by itself.

Its lines go through Nightshift's logging, so that the web container speaks the same JSON as the workers, and
a request's line carries the ``request_id`` that the jobs it enqueued carry.

Requests are served by gevent: gunicorn's threads know no limit for reading a request, so as many clients as there are
threads stop it by sending a byte now and then. Here such a client costs a greenlet, for a bounded time.
"""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # before anything else is imported

import logging
import os
import re
from datetime import timedelta
from typing import Any

import gevent
from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventWorker

from flask_nightshift import logs
from flask_nightshift.config import Settings

bind = "0.0.0.0:8000"  # inside the container; docker-compose.yml publishes it to 127.0.0.1 alone
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
keepalive = 5
"""Seconds that the head of a request may take, from the first byte to the last, and a connection may rest."""
REQUEST_SECONDS = float(os.environ.get("WEB_REQUEST_SECONDS") or 60)
"""Seconds that the rest may take: the body, the answer and its way. 60 s suffice for 8 MB at 1.1 Mbit/s."""
graceful_timeout = 25
"""Seconds that requests may take to finish after SIGTERM."""
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn's heartbeat file: on a disk it can block a worker
control_socket_disable = True
accesslog = "-"
SILENT = ("/health/live", "/health/ready")
"""Asked every few seconds: lines that say nothing as long as the answer is 200."""
SECRET = re.compile(r"(?<=^/hello/).+")
"""Parts of paths that are not logged: links in mails from before the token was behind a ``#``."""


class DeadlineWorker(GeventWorker):
    """gunicorn's gevent worker, with an end to each request."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request; closes the connection when it takes longer than ``REQUEST_SECONDS``."""
        with gevent.Timeout(REQUEST_SECONDS, False):
            super().handle_request(listener_name, req, sock, addr)
            return
        self.log.warning("http.too_slow %s %s", req.method, SECRET.sub("…", req.path))
        raise StopIteration


class JsonLogger(Logger):
    """Sends gunicorn's lines where all lines go."""

    def setup(self, cfg: Any) -> None:
        """Replace gunicorn's handlers by Nightshift's."""
        super().setup(cfg)
        log_format = os.environ.get("NIGHTSHIFT_LOG_FORMAT") or "json"
        logs.configure(Settings(log_format=log_format), level=os.environ.get("NIGHTSHIFT_LOG_LEVEL") or None)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.INFO)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """One line per request, without its query (which may hold what nobody should read in a log)."""
        status = int(resp.status_code or 0)
        if req.path in SILENT and status == 200:
            return
        headers = {name.lower(): value for name, value in resp.headers}
        fields = {
            "method": req.method,
            "path": SECRET.sub("…", req.path),
            "status": status,
            "seconds": round(request_time.total_seconds(), 4),
            "client": environ.get("REMOTE_ADDR"),
            "request_id": headers.get("x-request-id"),
        }
        self.access_log.info("http.request", extra=fields)


logger_class = JsonLogger
worker_class = DeadlineWorker
