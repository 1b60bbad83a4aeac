"""gunicorn's configuration in the container; gunicorn reads it from the working directory.

gunicorn's log lines go through Nightshift's logging. So the web container writes the same JSON as the workers, and the
line of a request has the same ``request_id`` as the jobs that the request enqueued.

gevent serves the requests. gunicorn's threads have no time limit for reading a request, so slow clients, one for each
thread, could stop the app by sending a byte now and then. Here such a client costs a greenlet for a limited time.
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

bind = "0.0.0.0:8000"  # inside the container; docker-compose.yml publishes it only on 127.0.0.1
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
keepalive = 5
"""Seconds for the head of a request, from its first byte to its last, and for an idle connection."""
REQUEST_SECONDS = float(os.environ.get("WEB_REQUEST_SECONDS") or 60)
"""Seconds for the rest: reading the body, computing and sending the answer. 60 s suffice for 8 MB at 1.1 Mbit/s."""
graceful_timeout = 25
"""Seconds for requests to finish after SIGTERM."""
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn's heartbeat file, which can block a worker if it is on a disk
control_socket_disable = True
accesslog = "-"
SILENT = ("/health/live", "/health/ready")
"""Paths that probes request every few seconds; a request with the answer 200 is not logged."""
SECRET = re.compile(r"(?<=^/hello/).+")
"""Parts of paths that are not logged: tokens in links of old mails, which were not yet behind a ``#``."""


class DeadlineWorker(GeventWorker):
    """gunicorn's gevent worker, with a deadline for each request."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request; close the connection if that takes longer than ``REQUEST_SECONDS``."""
        with gevent.Timeout(REQUEST_SECONDS, False):
            super().handle_request(listener_name, req, sock, addr)
            return
        self.log.warning("http.too_slow %s %s", req.method, SECRET.sub("…", req.path))
        raise StopIteration


class JsonLogger(Logger):
    """Sends gunicorn's log lines through Nightshift's logging."""

    def setup(self, cfg: Any) -> None:
        """Replace gunicorn's handlers with Nightshift's."""
        super().setup(cfg)
        log_format = os.environ.get("NIGHTSHIFT_LOG_FORMAT") or "json"
        logs.configure(Settings(log_format=log_format), level=os.environ.get("NIGHTSHIFT_LOG_LEVEL") or None)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.INFO)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log one line per request, without its query string, which may contain secrets."""
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
