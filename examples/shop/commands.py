"""``flask --app examples/shop …``: ``init-db``, ``up`` (everything in one terminal), ``demo`` (a tour)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from .extensions import db

PACKAGE = Path(__file__).parent
MAILBOX, SMTP, PARTNER = 25, 26, 27
"""The ports of the local helpers, as offsets from the web app's port: 8025, 8026, 8027 if that is 8000."""
WORKERS = {
    "worker": ("--queues", "celery,mail,images"),
    # slow calls to strangers must not delay other jobs; they mostly wait, so threads are enough
    "partners": ("--queues", "partners", "--pool", "threads", "--concurrency", "8"),
}


def init_app(app: Flask) -> None:
    """Add the commands."""
    for command in (init_db, up, demo):
        app.cli.add_command(command)


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Make the shop's own tables where they are missing."""
    db.create_all()


@click.command("up")
@click.option("--port", type=click.IntRange(1, 65_500), envvar="PORT", default=8000, show_default=True)
@with_appcontext
def up(port: int) -> None:
    """Start everything: broker, web, two workers, Beat, a mailbox and a moody partner; Ctrl-C stops it."""
    from flask_nightshift.up import need_port
    from flask_nightshift.up import up as start

    for offset in (0, MAILBOX, SMTP, PARTNER):
        need_port(port + offset)
    db.create_all()
    helpers, environ = _helpers(port)
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - Flask's documented way
    hints = _hints(port, environ)
    sys.exit(start(app, port=port, also=helpers, workers=WORKERS, hints=hints, environ=environ))


@click.command("demo")
def demo() -> None:
    """Show it all in a minute: a stack of its own, mail, retries, a dead letter and its replay."""
    from .demo import tell

    sys.exit(tell())


def _helpers(port: int) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The local helpers' commands, and the environment variables that point to them; yours take precedence."""
    mailbox, smtp, partner = port + MAILBOX, port + SMTP, port + PARTNER
    environ = {
        "SHOP_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SHOP_PARTNER_URL": f"http://127.0.0.1:{partner}",
        "SHOP_ALLOW_PRIVATE_HOOKS": "1",  # the partner is on this machine
    }
    python = [sys.executable, "-m"]
    helpers = {"partner": [*python, "shop.partner", f"--port={partner}"]}
    if "SHOP_SMTP_HOST" not in os.environ:  # if it is set, mail goes to a real server
        helpers["mail"] = [*python, "shop.mail_sink", f"--smtp-port={smtp}", f"--port={mailbox}"]
        environ["SHOP_SMTP_HOST"], environ["SHOP_SMTP_PORT"] = "127.0.0.1", str(smtp)
        environ["SHOP_MAILBOX_URL"] = f"http://127.0.0.1:{mailbox}"
    environ |= {key: os.environ[key] for key in environ if key in os.environ}
    path = [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    return helpers, environ


def _hints(port: int, environ: dict[str, str]) -> str:
    """Addresses, and three commands to paste."""
    web, partner = f"http://127.0.0.1:{port}", environ["SHOP_PARTNER_URL"]
    mailbox = environ.get("SHOP_MAILBOX_URL")
    picture = os.path.relpath(PACKAGE / "static" / "moonrise.jpg")
    user = """{"name": "Ada", "email": "ada@example.org"}"""
    order = f"""{{"url": "{partner}/flaky", "payload": {{"order": 42}}}}"""
    return "\n".join(
        [
            *([f"The mails    [bold]{mailbox}[/]"] if mailbox else []),
            f"A partner    [bold]{partner}[/]",
            "",
            "Try:",
            f"curl {web}/signup --json '{user}'",
            f"curl {web}/photos -F file=@{picture}",
            f"curl {web}/hooks --json '{order}'",
        ]
    )
