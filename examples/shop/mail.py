"""Writes a mail and sends it through a mail server.

Text from strangers becomes part of headers, so there are two checks: ``fits_header`` at sign-up, and ``sealed`` on the
finished bytes. Python alone is not enough: 3.11.7 decodes encoded words in a header value, including line breaks, and
writes them as header lines of the mail.
"""

from __future__ import annotations

import smtplib
import ssl
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import format_datetime, getaddresses, parseaddr

from flask import current_app, render_template

from flask_nightshift import PermanentFailure

from .models import User, utcnow

HEADERS = (
    "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
)  # fmt: skip
"""All headers of our mails; each occurs once."""


class ForgedMail(PermanentFailure):
    """The finished mail has headers that we did not write, so it is not sent."""


def fits_header(text: str) -> bool:
    """Whether ``text`` is safe in a header: no control character, no encoded word (``=?…?=``)."""
    return text.isprintable() and "=?" not in text


def welcome(user: User) -> EmailMessage:
    """The welcome mail of ``user`` in text and HTML; its ``Message-ID`` is the same each time."""
    config = current_app.config
    base = config["SHOP_PUBLIC_URL"].rstrip("/")
    # after a #: browsers do not send that part, so no log contains the token
    link = f"{base}/hello#{user.sessions[-1].token}" if user.sessions else None
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


def sealed(message: EmailMessage, recipient: str) -> bytes:
    """``message`` as bytes for the mail server; raises ``ForgedMail`` if a header is not one of ours.

    It parses the bytes again with Python's simplest parser, which reads line by line, as a mail server does.
    """
    try:
        data = message.as_bytes(policy=policy.SMTP)
    except MessageError as exc:  # newer versions of Python check this themselves
        raise ForgedMail(f"its headers cannot be written: {exc}") from exc
    head, _, _ = data.partition(b"\r\n\r\n")
    found = BytesHeaderParser(policy=policy.compat32).parsebytes(head)
    if sorted(found.keys()) != sorted(HEADERS) or found.defects:
        raise ForgedMail(f"its headers are {', '.join(found.keys())} and not {', '.join(HEADERS)}")
    if b"\r" in (bare := head.replace(b"\r\n", b"")) or b"\n" in bare or b"\0" in bare:
        raise ForgedMail("a header holds a bare line break or a NUL")
    if [address for _, address in getaddresses([str(found["To"])])] != [recipient]:
        raise ForgedMail(f"it goes to {found['To']!r} and not to {recipient} alone")
    return data


def send(message: EmailMessage, recipient: str) -> None:
    """Send ``message`` to ``recipient`` alone; returns when the mail server has accepted it.

    Raises ``ForgedMail``, or ``smtplib.SMTPException`` or ``OSError`` if the server has not accepted it.
    """
    config = current_app.config
    data = sealed(message, recipient)
    _, sender = parseaddr(config["SHOP_MAIL_FROM"])
    host, port = config["SHOP_SMTP_HOST"], config["SHOP_SMTP_PORT"]
    server = smtplib.SMTP(host, port, timeout=config["SHOP_SMTP_TIMEOUT"])
    try:
        if config["SHOP_SMTP_STARTTLS"]:
            server.starttls(context=ssl.create_default_context())
        if config["SHOP_SMTP_USER"]:
            server.login(config["SHOP_SMTP_USER"], config["SHOP_SMTP_PASSWORD"])
        # sendmail, not send_message, which takes the recipients from the headers
        server.sendmail(sender, [recipient], data)
    finally:
        server.close()  # not quit(): an error there must not fail an accepted mail


def refused_for_good(exc: Exception) -> bool:
    """Whether the server finally refuses this mail (5xx), so another attempt would fail too."""
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in exc.recipients.values())
    return isinstance(exc, smtplib.SMTPDataError) and exc.smtp_code >= 500
