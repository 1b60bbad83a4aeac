"""An app with one task, configured by the environment, for ``flask jobs mcp``."""

from __future__ import annotations

from flask import Flask

from flask_nightshift import Nightshift


def create_app() -> Flask:
    app = Flask("tellapp")
    jobs = Nightshift(app)

    @jobs.task(name="mail.send", queue="mail")
    def send(number: int = 0) -> None:
        """Never runs here."""

    return app
