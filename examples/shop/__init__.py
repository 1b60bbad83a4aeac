"""A small Flask shop that runs its slow work in the background: mail, pictures, calls to partners, a clean-up.

``flask --app examples/shop up`` starts everything. Read ``tasks.py`` first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from . import commands, config, errors, views
from .extensions import db, jobs


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """Create the app; ``overrides`` take precedence over the environment.

    ``SHOP_INSTANCE`` names the instance folder (embedded broker, SQLite); the default is ``instance`` beside this
    package.
    """
    instance = os.environ.get("SHOP_INSTANCE")
    app = Flask(__name__, instance_path=os.path.abspath(instance) if instance else None)
    app.config.from_mapping(config.from_environment())
    app.config.from_mapping(overrides or {})
    os.makedirs(app.instance_path, exist_ok=True)
    db.init_app(app)
    jobs.init_app(app)
    app.register_blueprint(views.shop)
    errors.init_app(app)
    commands.init_app(app)
    return app
