"""The pages and endpoints. An endpoint with slow work enqueues a job and answers 202."""

from __future__ import annotations

import json
import math
import re
import uuid
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request, url_for
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from . import hooks, images, mail, tasks
from .errors import BadInput, TooOften
from .extensions import db, jobs
from .models import Photo, Session, Thumbnail, User, WelcomeMail, changed, utcnow

shop = Blueprint("shop", __name__)

MAX_JSON_BYTES = 64 * 1024
MAX_KEY = 200
MAX_JSON_DEPTH = 32
"""The maximum nesting of lists and objects. JSON parsers and pickle fail beyond a few hundred levels."""
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(
    r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@" + rf"(?:{_LABEL}\.)+[a-z]{{2,63}}",
    re.ASCII | re.IGNORECASE,
)
_TOKEN = re.compile(r"[\w-]{1,32}", re.ASCII)
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


@shop.get("/")
def index() -> str:
    """The page."""
    return render_template("index.html")


@shop.get("/hello")
def hello() -> str:
    """The page behind the link in the welcome mail. The token follows a ``#``, and the page sends it in a POST.

    So no log contains the token, and programs that follow links in mails (scanners, previews) do not use it up.
    """
    return render_template("hello.html")


@shop.post("/hello")
def come_in() -> str:
    """A form with ``token``: use up the token and greet its owner."""
    token = request.form.get("token", "")
    session = db.session.get(Session, token) if _TOKEN.fullmatch(token) else None
    user = session.user if session is not None else None
    valid = (Session.token == session.token) & (Session.expires_at >= utcnow()) if session else None
    # one DELETE, so that only one of two simultaneous requests succeeds
    if valid is None or changed(delete(Session).where(valid)) != 1:
        abort(404, "This link has expired or was used before. Sign up again and a new one is made.")
    page = render_template("index.html", user=user)
    db.session.commit()
    return page


@shop.post("/signup")
def signup() -> tuple[Response, int]:
    """``{"name", "email"}``: create the user and send the welcome mail.

    User, link and job are committed together, so a user without a mail cannot exist, nor a mail without its user. While
    the broker is down, the request succeeds all the same, and the mail goes out later. A second sign-up with the same
    address is harmless: it finds the same user and sends no second mail.
    """
    body = _json_object()
    name = _text(body, "name", 100)
    if not mail.fits_header(name):
        raise BadInput("name", name, "leave out line breaks, control characters and '=?'")
    email = _text(body, "email", 254).lower()
    if not _EMAIL.fullmatch(email) or email.index("@") > 64 or not mail.fits_header(email):
        raise BadInput("email", email, "give an address such as ada@example.org")
    user = _user(name, email)
    _new_session(user)
    queued = tasks.send_welcome.delay_on_commit(user.id)
    db.session.commit()
    return _accepted(tasks.send_welcome, queued)


@shop.post("/photos")
def photos() -> tuple[Response, int]:
    """A form with ``file``: store the picture and create its thumbnails."""
    limit = current_app.config["SHOP_MAX_PHOTO_BYTES"]
    request.max_content_length = limit + MAX_JSON_BYTES  # the form around the file
    upload = request.files.get("file")
    if upload is None:
        raise BadInput("file", None, "send a form (multipart/form-data) with the picture in the field 'file'")
    filename = "".join(filter(str.isprintable, PurePath(upload.filename or "").name))[:255] or "picture"
    data = upload.stream.read(limit + 1)
    if len(data) > limit:
        abort(413, f"The picture is larger than {limit:,} bytes. Send a smaller one.")
    try:
        kind = images.inspect(data, current_app.config["SHOP_MAX_PHOTO_PIXELS"])
    except images.NotAPicture as exc:
        raise BadInput("file", filename, str(exc)) from None
    photo = Photo(filename=filename, content_type=kind, original=data)
    db.session.add(photo)
    db.session.commit()
    return _accepted(tasks.make_thumbnails, tasks.make_thumbnails.delay(photo.id))


@shop.post("/photos/<photo_id>/thumbnails")
def make_again(photo_id: str) -> tuple[Response, int]:
    """Create the thumbnails of a photo again; while that waits or runs, the answer names the job that exists."""
    if db.session.get(Photo, photo_id) is None:
        abort(404, "There is no such photo.")
    return _accepted(tasks.make_thumbnails, tasks.make_thumbnails.delay(photo_id))


@shop.get("/photos/<photo_id>/<size>")
def thumbnail(photo_id: str, size: str) -> Response:
    """One size of a photo, as JPEG."""
    if size not in images.SIZES:
        raise BadInput("size", size, f"one of {', '.join(images.SIZES)}")
    found = db.session.get(Thumbnail, (photo_id, size))
    if found is None:
        abort(404, "There is no such photo, or its thumbnails are not made yet.")
    response = Response(found.data, mimetype="image/jpeg")
    response.cache_control.max_age = 3600
    response.add_etag()
    response.make_conditional(request)
    return response


@shop.post("/hooks")
def hook() -> tuple[Response, int]:
    """``{"url", "payload"}``: deliver the payload to a partner.

    A client that repeats a request sends the header ``Idempotency-Key`` with it; then the payload is delivered once.
    """
    body = _json_object()
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > MAX_KEY or not key.isprintable():
        raise BadInput("Idempotency-Key", key, f"give at most {MAX_KEY} printable characters")
    url = _text(body, "url", 2000)
    payload = body.get("payload", {})
    if not isinstance(payload, dict):
        raise BadInput("payload", json.dumps(payload), 'give a JSON object such as {"order": 42}')
    try:
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as exc:
        raise BadInput("payload", repr(payload), f"it cannot be sent as JSON ({exc})") from None
    try:
        hooks.check(url, allow_private=current_app.config["SHOP_ALLOW_PRIVATE_HOOKS"])
    except hooks.HookRefused as exc:
        raise BadInput("url", url, str(exc)) from None
    queued = tasks.deliver_hook.delay(url, payload, key or uuid.uuid4().hex)
    return _accepted(tasks.deliver_hook, queued)


@shop.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """A job's record; its state may be ``unknown`` just after it was enqueued."""
    response = jsonify(jobs.job(job_id).as_dict())
    response.cache_control.no_store = True
    return response


@shop.before_app_request
def _no_nul() -> None:
    """Answer 404 to a path with a NUL: no page has one, and PostgreSQL refuses NULs in text."""
    if "\0" in request.path:
        abort(404)


@shop.after_app_request
def _headers(response: Response) -> Response:
    headers = response.headers
    if request.endpoint in {"shop.hello", "shop.come_in"}:
        response.cache_control.no_store = True
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    return response


def _accepted(task: Any, queued: Any) -> tuple[Response, int]:
    """The answer for a job of ``task`` that is enqueued; an unavailable broker became 503 before."""
    status_url = url_for("shop.job", job_id=queued.id)
    response = jsonify(job={"id": queued.id, "task": task.name, "status_url": status_url})
    response.headers["Location"] = status_url
    return response, 202


def _user(name: str, email: str) -> User:
    """The user with that address; created if necessary."""
    user = _find(email)
    if user is None:
        user = User(name=name, email=email, welcome=WelcomeMail())
        db.session.add(user)
        try:
            db.session.flush()
        except IntegrityError:  # a simultaneous sign-up created the user
            db.session.rollback()
            user = _find(email)
            assert user is not None  # noqa: S101 - the conflict was with that row
    return user


def _new_session(user: User) -> None:
    """Add a link for the user, which replaces the oldest one if there are too many. Raises ``TooOften``."""
    most = current_app.config["SHOP_SIGNUPS_PER_HOUR"]
    life = timedelta(hours=current_app.config["SHOP_SESSION_HOURS"])
    # this locks the row until the commit, so simultaneous sign-ups with one address are counted one by one
    db.session.execute(update(User).where(User.id == user.id).values(name=User.name))
    known = db.session.scalars(
        select(Session).where(Session.user_id == user.id).order_by(Session.expires_at)
    ).all()
    now = utcnow()
    recent = [one for one in known if one.expires_at > now + life - timedelta(hours=1)]
    if len(recent) >= most:
        wait = (recent[0].expires_at - life + timedelta(hours=1) - now).total_seconds()
        db.session.rollback()
        raise TooOften(
            f"{most} sign-ups with one address in an hour are enough. Look into its mailbox.", wait
        )
    for one in known[: max(0, len(known) - most + 1)]:
        db.session.delete(one)
    db.session.add(Session(user_id=user.id, expires_at=now + life))


def _find(email: str) -> User | None:
    return db.session.scalars(select(User).where(User.email == email)).one_or_none()


def _json_object() -> dict[str, Any]:
    request.max_content_length = MAX_JSON_BYTES
    if not request.is_json:
        raise BadInput("Content-Type", request.content_type, "send JSON with Content-Type: application/json")
    data = request.get_data()
    try:
        body = json.loads(data, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadInput("body", data.decode("utf-8", "replace"), "send one JSON object")
    if _depth(body) > MAX_JSON_DEPTH:
        raise BadInput(
            "body", data.decode("utf-8", "replace"), f"nest no deeper than {MAX_JSON_DEPTH} levels"
        )
    return body


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _depth(value: Any) -> int:
    """The nesting depth of lists and objects, computed without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _text(body: dict[str, Any], field: str, longest: int) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value.strip():
        raise BadInput(field, value, "give it as text that is not empty")
    if len(value) > longest:
        raise BadInput(field, value, f"give no more than {longest} characters")
    return value.strip()
