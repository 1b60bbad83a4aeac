"""The pages and endpoints. Each one that has slow work to do enqueues a job and answers 202."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from . import hooks, images, tasks
from .errors import BadInput
from .extensions import db, jobs
from .models import Photo, Session, Thumbnail, User, WelcomeMail, utcnow

shop = Blueprint("shop", __name__)

MAX_JSON_BYTES = 64 * 1024
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(
    r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@" + rf"(?:{_LABEL}\.)+[a-z]{{2,63}}",
    re.ASCII | re.IGNORECASE,
)
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


@shop.get("/")
def index() -> str:
    """The page."""
    return render_template("index.html")


@shop.get("/hello/<token>")
def hello(token: str) -> str:
    """Where the link in the welcome mail leads, while it is valid."""
    session = db.session.get(Session, token)
    if session is None or session.expires_at < utcnow():
        abort(404, "This link has expired. Sign up again and a new one is made.")
    return render_template("index.html", user=session.user)


@shop.post("/signup")
def signup() -> tuple[Response, int]:
    """``{"name", "email"}``: make the user and send the welcome mail.

    Signing up again with the same address is harmless: the same user, and no second mail. So a client that
    was answered 503 simply sends it again.
    """
    body = _json_object()
    name = _text(body, "name", 100)
    if not name.isprintable():
        raise BadInput("name", name, "leave out line breaks and control characters")
    email = _text(body, "email", 254).lower()
    if not _EMAIL.fullmatch(email) or email.index("@") > 64:
        raise BadInput("email", email, "give an address such as ada@example.org")
    user = _user(name, email)
    return _accepted(tasks.send_welcome, user.id)


@shop.post("/photos")
def photos() -> tuple[Response, int]:
    """A form with ``file``: store the picture and make its thumbnails."""
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
    return _accepted(tasks.make_thumbnails, photo.id)


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
    return response.make_conditional(request)


@shop.post("/hooks")
def hook() -> tuple[Response, int]:
    """``{"url", "payload"}``: deliver the payload to a partner."""
    body = _json_object()
    url = _text(body, "url", 2000)
    payload = body.get("payload", {})
    if not isinstance(payload, dict):
        raise BadInput("payload", json.dumps(payload), 'give a JSON object such as {"order": 42}')
    try:
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as exc:
        raise BadInput("payload", json.dumps(payload), f"it cannot be sent as JSON ({exc})") from None
    try:
        hooks.check(url, allow_private=current_app.config["SHOP_ALLOW_PRIVATE_HOOKS"])
    except hooks.HookRefused as exc:
        raise BadInput("url", url, str(exc)) from None
    return _accepted(tasks.deliver_hook, url, payload)


@shop.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """What has become of a job; ``unknown`` also for one that was enqueued an instant ago."""
    response = jsonify(jobs.job(job_id).as_dict())
    response.cache_control.no_store = True
    return response


@shop.after_app_request
def _headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    return response


def _accepted(task: Any, *args: Any) -> tuple[Response, int]:
    """Enqueue a job; raises ``BrokerUnavailable``, which becomes 503."""
    queued = task.delay(*args)
    status_url = url_for("shop.job", job_id=queued.id)
    response = jsonify(job={"id": queued.id, "task": task.name, "status_url": status_url})
    response.headers["Location"] = status_url
    return response, 202


def _user(name: str, email: str) -> User:
    """The user with that address, made if need be, with a session that is valid."""
    user = _find(email)
    if user is None:
        user = User(name=name, email=email, welcome=WelcomeMail())
        db.session.add(user)
        try:
            db.session.flush()
        except IntegrityError:  # somebody signed up with it this instant
            db.session.rollback()
            user = _find(email)
            assert user is not None  # noqa: S101 - the conflict was with that row
    hours = current_app.config["SHOP_SESSION_HOURS"]
    user.sessions.append(Session(expires_at=utcnow() + timedelta(hours=hours)))
    db.session.commit()
    return user


def _find(email: str) -> User | None:
    return db.session.scalars(select(User).where(User.email == email)).one_or_none()


def _json_object() -> dict[str, Any]:
    request.max_content_length = MAX_JSON_BYTES
    if not request.is_json:
        raise BadInput("Content-Type", request.content_type, "send JSON with Content-Type: application/json")
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        body = None
    if not isinstance(body, dict):
        raise BadInput("body", request.get_data(as_text=True), "send one JSON object")
    return body


def _text(body: dict[str, Any], field: str, longest: int) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value.strip():
        raise BadInput(field, value, "give it as text that is not empty")
    if len(value) > longest:
        raise BadInput(field, value, f"give no more than {longest} characters")
    return value.strip()
