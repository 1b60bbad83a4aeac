"""Writing a mail and handing it to a mail server.

What strangers type becomes part of headers, so two things guard them: ``fits_header`` refuses it at sign-up, and
``sealed`` looks at the finished bytes. Python alone does not: 3.11.7 decodes the encoded words of a value that it is
given, line breaks included, and writes them out as lines of the mail's own.
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
"""All that a mail of ours has, each once."""


class ForgedMail(PermanentFailure):
    """The finished mail has headers that we did not write: it is not sent."""


def fits_header(text: str) -> bool:
    """Whether ``text`` can be nothing but text in a header: no control character, no encoded word (``=?…?=``)."""
    return text.isprintable() and "=?" not in text


def welcome(user: User) -> EmailMessage:
    """The welcome mail of ``user`` in text and HTML; the same headers however often it is written."""
    config = current_app.config
    base = config["SHOP_PUBLIC_URL"].rstrip("/")
    # behind a #: browsers send that to nobody, so no log on the way has the token
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
    """``message`` as it goes over the wire; raises ``ForgedMail`` when a header is not one of ours.

    Read back by the plainest parser there is: line by line, as the mail server does.
    """
    try:
        data = message.as_bytes(policy=policy.SMTP)
    except MessageError as exc:  # newer Pythons look themselves
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
    """Give ``message`` to the mail server for ``recipient`` alone; returns when it has taken it.

    Raises ``ForgedMail``, or ``smtplib.SMTPException`` or ``OSError`` when the server has not taken it.
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
        # sendmail, and not send_message, which would take the recipients from the headers
        server.sendmail(sender, [recipient], data)
    finally:
        server.close()  # not quit(): what the server answers to that must not undo a mail it has taken


def refused_for_good(exc: Exception) -> bool:
    """Whether the server's answer is about this mail and final (5xx): another attempt gets the same one."""
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in exc.recipients.values())
    return isinstance(exc, smtplib.SMTPDataError) and exc.smtp_code >= 500
