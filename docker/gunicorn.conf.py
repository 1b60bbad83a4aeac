"""gunicorn in the container: read from the working directory by itself.

Its lines go through Nightshift's logging, so that the web container speaks the same JSON as the workers, and
a request's line carries the ``request_id`` that the jobs it enqueued carry.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from flask_nightshift import logs
from flask_nightshift.config import Settings

bind = "0.0.0.0:8000"  # inside the container; docker-compose.yml publishes it to 127.0.0.1 alone
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 4
graceful_timeout = 25
"""Seconds that requests may take to finish after SIGTERM."""
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn's heartbeat file: on a disk it can block a worker
control_socket_disable = True
accesslog = "-"
SILENT = ("/health/live", "/health/ready")
"""Asked every few seconds: lines that say nothing as long as the answer is 200."""


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
            "path": req.path,
            "status": status,
            "seconds": round(request_time.total_seconds(), 4),
            "client": environ.get("REMOTE_ADDR"),
            "request_id": headers.get("x-request-id"),
        }
        self.access_log.info("http.request", extra=fields)


logger_class = JsonLogger
