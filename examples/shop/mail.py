"""Writing a mail and handing it to a mail server."""

from __future__ import annotations

import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from flask import current_app, render_template

from .models import User, utcnow


def welcome(user: User) -> EmailMessage:
    """The welcome mail of ``user`` in text and HTML; the same headers however often it is written."""
    config = current_app.config
    base = config["SHOP_PUBLIC_URL"].rstrip("/")
    link = f"{base}/hello/{user.sessions[-1].token}" if user.sessions else None
    sender_name, sender = parseaddr(config["SHOP_MAIL_FROM"])
    message = EmailMessage()
    message["Subject"] = f"Welcome to the Night Shop, {user.name}"
    message["From"] = Address(sender_name, addr_spec=sender)
    message["To"] = Address(user.name, addr_spec=user.email)
    message["Date"] = format_datetime(utcnow())
    message["Message-ID"] = f"<{user.welcome.message_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(render_template("welcome.txt", user=user, link=link))
    message.add_alternative(render_template("welcome.html", user=user, link=link), subtype="html")
    return message


def send(message: EmailMessage) -> None:
    """Give ``message`` to the mail server; returns when it has taken it.

    Raises ``smtplib.SMTPException`` or ``OSError`` otherwise.
    """
    config = current_app.config
    host, port = config["SHOP_SMTP_HOST"], config["SHOP_SMTP_PORT"]
    server = smtplib.SMTP(host, port, timeout=config["SHOP_SMTP_TIMEOUT"])
    try:
        if config["SHOP_SMTP_STARTTLS"]:
            server.starttls(context=ssl.create_default_context())
        if config["SHOP_SMTP_USER"]:
            server.login(config["SHOP_SMTP_USER"], config["SHOP_SMTP_PASSWORD"])
        server.send_message(message)
    finally:
        server.close()  # not quit(): what the server answers to that must not undo a mail it has taken


def refused_for_good(exc: Exception) -> bool:
    """Whether the server's answer is about this mail and final (5xx): another attempt gets the same one."""
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in exc.recipients.values())
    return isinstance(exc, smtplib.SMTPDataError) and exc.smtp_code >= 500
