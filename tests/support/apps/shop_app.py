"""The example shop's app in the test process, for tests without a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import shop_stack  # noqa: F401 - it adds the shop to sys.path

from shop import create_app  # isort: skip
from shop.extensions import db  # isort: skip


def make_app(home: Path, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Flask:
    """An app with its instance folder in ``home``, and with its tables."""
    monkeypatch.setenv("SHOP_INSTANCE", str(home))
    app = create_app({"TESTING": True, **overrides})
    app.testing = False  # errors become answers, as for a customer
    with app.app_context():
        db.create_all()
        app.extensions["nightshift"].store.migrate()
    return app
