"""The app of ``jobsapp.py`` on a system without what our own pool of processes needs, such as macOS."""

from __future__ import annotations

from flask_nightshift.worker.pools import prefork
from jobsapp import create_app

__all__ = ["create_app"]

vars(prefork)["supported"] = lambda: False
