"""A mailbox for development: it accepts every mail, delivers none, and shows them all.

``python -m shop.mail_sink --smtp-port 8026 --port 8025``. Its list at ``/api/v1/messages`` has Mailpit's format, so
clients of one can read the other. It keeps the last 500 mails in memory.
"""

from __future__ import annotations

import email.policy
import secrets
import threading
from collections import deque
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import getaddresses
from typing import Any

import click
from aiosmtpd.controller import Controller
from flask import Flask, Response, abort, jsonify, render_template
from werkzeug.serving import make_server

from .serve import until_stopped

KEPT = 500
MAX_MAIL_BYTES = 5 * 1024 * 1024


class Mailbox:
    """The mails, newest first; an aiosmtpd handler."""

    def __init__(self) -> None:
        self._mails: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Store a mail."""
        mail = _describe(envelope.content)
        with self._lock:
            self._mails.appendleft(mail)
        click.echo(f"mail from {mail['From']['Address']} to {mail['To'][0]['Address']}: {mail['Subject']}")
        return "250 Taken"

    def all(self) -> list[dict[str, Any]]:
        """All mails, with their texts."""
        with self._lock:
            return list(self._mails)

    def find(self, mail_id: str) -> dict[str, Any] | None:
        """The mail with that ``ID``, or None."""
        return next((mail for mail in self.all() if mail["ID"] == mail_id), None)

    def clear(self) -> None:
        """Delete all."""
        with self._lock:
            self._mails.clear()


def create_mailbox_app(mailbox: Mailbox) -> Flask:
    """The mailbox as JSON and as a page."""
    app = Flask(__name__)

    @app.get("/")
    def page() -> str:
        return render_template("mailbox.html", mails=mailbox.all())

    @app.get("/api/v1/messages")
    def messages() -> Response:
        mails = [{key: mail[key] for key in mail if key not in {"Text", "HTML"}} for mail in mailbox.all()]
        total = len(mails)
        return jsonify(
            total=total, messages_count=total, count=total, unread=total, start=0, tags=[], messages=mails
        )

    @app.get("/api/v1/message/<mail_id>")
    def message(mail_id: str) -> Response:
        return jsonify(mailbox.find(mail_id) or abort(404))

    @app.delete("/api/v1/messages")
    def clear() -> str:
        mailbox.clear()
        return "ok"

    return app


def serve(smtp_port: int, port: int) -> None:
    """Serve SMTP and HTTP on 127.0.0.1 until SIGTERM."""
    mailbox = Mailbox()
    server = make_server("127.0.0.1", port, create_mailbox_app(mailbox), threaded=True)
    smtp = Controller(mailbox, hostname="127.0.0.1", port=smtp_port, data_size_limit=MAX_MAIL_BYTES)
    smtp.start()
    click.echo(f"mailbox at http://127.0.0.1:{port}, SMTP on port {smtp_port}")
    try:
        until_stopped(server)
    finally:
        smtp.stop()


def _describe(raw: bytes) -> dict[str, Any]:
    """A mail in Mailpit's format."""
    message = BytesParser(_class=EmailMessage, policy=email.policy.default).parsebytes(raw)
    text, html = (_body(message, kind) for kind in ("plain", "html"))
    return {
        "ID": secrets.token_urlsafe(12),
        "MessageID": str(message["Message-ID"] or "").strip("<>"),
        "Read": False,
        "From": (_people(message, "From") or [{"Name": "", "Address": ""}])[0],
        "To": _people(message, "To") or [{"Name": "", "Address": ""}],
        "Cc": _people(message, "Cc"),
        "Bcc": [],
        "ReplyTo": _people(message, "Reply-To"),
        "Subject": str(message["Subject"] or ""),
        "Created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "Tags": [],
        "Size": len(raw),
        "Attachments": sum(1 for _ in message.iter_attachments()),
        "Snippet": " ".join(text.split())[:200],
        "Text": text,
        "HTML": html,
    }


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _people(message: EmailMessage, header: str) -> list[dict[str, str]]:
    found = getaddresses([str(value) for value in message.get_all(header, [])])
    return [{"Name": name, "Address": address} for name, address in found]


@click.command()
@click.option("--smtp-port", type=int, default=8026, show_default=True)
@click.option("--port", type=int, default=8025, show_default=True, help="Of the page and the JSON")
def main(smtp_port: int, port: int) -> None:
    """Run the mailbox."""
    serve(smtp_port, port)


if __name__ == "__main__":
    main()
