"""The app of ``asyncapp.py`` on a system without what our own pool of processes needs, such as macOS."""

from __future__ import annotations

from asyncapp import create_app
from flask_nightshift.worker.pools import prefork

__all__ = ["create_app"]

vars(prefork)["supported"] = lambda: False
