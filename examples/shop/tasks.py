"""The shop's background jobs.

A job can run more than once, because its worker may die after the work and before the acknowledgement. So each task
here may run again at any time, and its docstring says what happens then. Everything else (retries with growing waits,
time limits, the dead-letter queue) is Nightshift's default; ``NIGHTSHIFT_TASK_DEFAULTS`` changes it for all tasks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from flask import current_app
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from flask_nightshift import PermanentFailure

from . import hooks, images, mail
from .errors import brief
from .extensions import db, jobs
from .models import Delivery, Photo, Session, Thumbnail, User, changed, utcnow

log = structlog.get_logger(__name__)


@jobs.task(
    bind=True, name="mail.send_welcome", queue="mail", soft_time_limit=15, time_limit=20, ignore_result=False
)
def send_welcome(self: Any, user_id: int) -> dict[str, Any]:
    """Send the welcome mail to the user ``user_id`` once, however often this runs.

    The task claims the mail's row in the database, sends the mail, and marks the row as sent. It may crash:

    - before the claim or after the mark: nothing was begun, or everything is done;
    - between the claim and the server's acceptance: no mail went out; the claim expires after 25 s, and the next run
      sends it;
    - between the acceptance and the mark: this takes a few milliseconds, or longer if the database is down or the
      server's answer is lost. We cannot know whether the mail went out. We prefer two mails to none, so the next run
      sends it again with the same ``Message-ID``, by which mail systems recognise and drop a copy. SMTP cannot promise
      more.
    """
    user = db.session.get(User, user_id)
    if user is None:
        raise PermanentFailure(f"there is no user {user_id}")
    welcome = user.welcome
    if welcome.sent_at is None and not welcome.take():
        left = welcome.claim_left()
        if welcome.sent_at is None:
            raise self.retry(countdown=left + 1, exc=RuntimeError("another run is sending this mail"))
    if welcome.sent_at is not None:
        log.info("mail.already_sent", user_id=user_id)
        return {"sent": False, "why": "it was sent before"}
    try:
        mail.send(mail.welcome(user), user.email)
    except Exception as exc:
        welcome.release()
        if mail.refused_for_good(exc):
            raise PermanentFailure(f"the mail server refuses {user.email}: {exc}") from exc
        raise
    welcome.sent()
    log.info("mail.sent", user_id=user_id, to=user.email)
    return {"sent": True, "to": user.email}


@jobs.task(
    bind=True,
    name="images.make_thumbnails",
    queue="images",
    soft_time_limit=60,
    time_limit=75,
    ignore_result=False,
    dont_autoretry_for=(images.NotAPicture,),
    unique="until_done",
)
def make_thumbnails(self: Any, photo_id: str) -> dict[str, Any]:
    """Create the three thumbnails of a photo. A second run creates the same ones and overwrites them.

    The task is unique: while a job for a photo waits or runs, nobody can enqueue a second one.
    """
    photo = db.session.get(Photo, photo_id)
    if photo is None:
        raise PermanentFailure(f"there is no photo {photo_id}")
    total = len(images.SIZES)
    self.progress(0, total, "opening the picture")
    limit = current_app.config["SHOP_MAX_PHOTO_PIXELS"]
    made = {}
    for done, (size, data, (width, height)) in enumerate(images.thumbnails(photo.original, limit), start=1):
        db.session.merge(Thumbnail(photo_id=photo_id, size=size, width=width, height=height, data=data))
        db.session.commit()
        made[size] = f"/photos/{photo_id}/{size}"
        self.progress(done, total, f"{size}: {width} x {height}")
    return {"photo": photo_id, "sizes": made}


@jobs.task(
    bind=True,
    name="partners.deliver_hook",
    queue="partners",
    soft_time_limit=45,
    time_limit=60,
    ignore_result=False,
    idempotency_key=lambda url, payload, key: key,  # noqa: ARG005 - a key is called with all arguments
)
def deliver_hook(self: Any, url: str, payload: dict[str, Any], key: str) -> dict[str, Any]:  # noqa: ARG001
    """POST ``payload`` to a partner, once for each ``key``: a second job with the same key is skipped.

    The ``Idempotency-Key`` is the job's id, the same in every attempt and after a replay, so a partner that honours it
    accepts the payload once. The job is retried for ``HookFailed``, after the wait that ``Retry-After`` asks for, else
    after growing waits.
    """
    config = current_app.config
    try:
        status = hooks.deliver(
            url,
            payload,
            key=self.request.id,
            timeout=config["SHOP_HOOK_TIMEOUT"],
            allow_private=config["SHOP_ALLOW_PRIVATE_HOOKS"],
            max_wait=config["SHOP_HOOK_MAX_WAIT"],
        )
    except (hooks.HookFailed, hooks.HookRefused) as exc:
        _record(self.request.id, url, payload, status=exc.status, error=str(exc))
        if isinstance(exc, hooks.HookFailed) and exc.retry_after is not None:
            raise self.retry(countdown=exc.retry_after, exc=exc) from exc
        raise
    _record(self.request.id, url, payload, status=status)
    return {"status": status}


@jobs.task(name="shop.clean_up", soft_time_limit=120, time_limit=150, ignore_result=False)
def clean_up() -> dict[str, int]:
    """Delete expired sessions and old deliveries, every night. A second run finds nothing to delete."""
    old = utcnow() - timedelta(days=current_app.config["SHOP_KEEP_DELIVERIES_DAYS"])
    sessions = changed(delete(Session).where(Session.expires_at < utcnow()))
    deliveries = changed(delete(Delivery).where(Delivery.at < old))
    db.session.commit()
    log.info("shop.cleaned_up", sessions=sessions, deliveries=deliveries)
    return {"sessions": sessions, "deliveries": deliveries}


def _record(
    job_id: str, url: str, payload: dict[str, Any], *, status: int | None, error: str | None = None
) -> None:
    """Record a call. An unavailable database must not fail the job here, because that would repeat the call."""
    try:
        db.session.add(Delivery(job_id=job_id, url=url, payload=payload, status=status, error=error))
        db.session.commit()
    except SQLAlchemyError as exc:
        db.session.rollback()
        log.warning("delivery.not_recorded", job_id=job_id, error=brief(exc))
