"""When the logging of a process is set up: at the start of a worker or of Beat, or when the app calls ``configure``.

``setup`` does it. Other processes do not import that module, nor structlog.
"""

from __future__ import annotations

import weakref
from typing import IO, Any

from celery import _state, signals
from flask import Flask

from ..config.settings import Settings
from ..services import Services, current
from . import plain_structlog
from .guests import OURS, wake
from .prints import redirect


def configure(
    app: Flask | Settings,
    *,
    level: int | str | None = None,
    stream: IO[str] | None = None,
    logfile: str | None = None,
) -> None:
    """Send all logging of this process through Nightshift's processors, and replace handlers that write to the console.

    Workers and Beat call it. Call it in the application factory, after ``init_app``, to give the web process's lines
    the same format. ``level`` takes precedence over ``NIGHTSHIFT_LOG_LEVEL``. Lines go to ``logfile``, else to
    ``stream`` (default: standard error). Handlers that write elsewhere stay, and so does the app's own configuration of
    structlog.
    """
    if isinstance(app, Flask):
        settings = current(app).settings
    else:  # a process of ours: a worker, or Beat
        settings = app
        plain_structlog.load()
    from . import setup

    setup.configure(settings, level=level, stream=stream, logfile=logfile)


def connect(services: Services) -> None:
    """Make workers and Beat of this app log through ``configure``, including what tasks print.

    If the app has its own receiver of ``celery.signals.setup_logging``, the app controls logging instead.
    """
    wake(OURS)
    mine = weakref.ref(services)

    def set_up(loglevel: int | None = None, logfile: str | None = None, **_: Any) -> None:
        # All apps of this process share one signal; Celery's current app is the one that works.
        working = getattr(_state.get_current_app(), "services", None) or mine()
        if working is None or is_taken():
            return
        configure(working.settings, level=loglevel, logfile=logfile)
        conf = working.celery.conf
        if conf.worker_redirect_stdouts:
            redirect(conf.worker_redirect_stdouts_level)

    signals.setup_logging.disconnect(dispatch_uid=__name__)
    signals.setup_logging.connect(set_up, weak=False, dispatch_uid=__name__)


def is_taken() -> bool:
    """Whether another receiver of Celery's signal sets up the logging of workers and Beat."""
    return any(
        uid != __name__ and not (isinstance(receiver, weakref.ref) and receiver() is None)
        for (uid, _), receiver in signals.setup_logging.receivers or ()
    )


__all__ = ["configure", "connect", "is_taken"]
