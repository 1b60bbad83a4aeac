"""The shop's models. All times are UTC."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import JSON, CursorResult, Delete, ForeignKey, LargeBinary, String, Text, Update, or_, update
from sqlalchemy.orm import Mapped, deferred, mapped_column, relationship

from .extensions import db

CLAIM_SECONDS = 25.0
"""Seconds after which a claim on a mail expires: more than the task's hard time limit, so its run has ended."""


def utcnow() -> datetime:
    """The current time in UTC, without a zone, because SQLite stores none."""
    return datetime.now(UTC).replace(tzinfo=None)


def changed(statement: Update | Delete) -> int:
    """Execute ``statement``; returns the number of changed rows."""
    return cast("CursorResult[Any]", db.session.execute(statement)).rowcount


def _token() -> str:
    return secrets.token_urlsafe(16)


class User(db.Model):
    """A person who signed up."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(254), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    welcome: Mapped[WelcomeMail] = relationship(back_populates="user", cascade="all, delete-orphan")
    sessions: Mapped[list[Session]] = relationship(
        back_populates="user", cascade="all, delete-orphan", order_by="Session.expires_at"
    )


class WelcomeMail(db.Model):
    """The welcome mail of a user; created with the user, so there is only one row to claim.

    ``message_id`` never changes, so mail systems recognise a mail that is sent twice.
    """

    __tablename__ = "welcome_mails"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    message_id: Mapped[str] = mapped_column(String(32), default=lambda: uuid.uuid4().hex, unique=True)
    claim: Mapped[str | None] = mapped_column(String(32))
    claimed_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(back_populates="welcome")

    def take(self) -> bool:
        """Claim the right to send the mail; False if it was sent, or while another claim is valid.

        A claim belongs to one run of the task, not to the job, because a job can run twice at the same time.
        """
        now, claim = utcnow(), uuid.uuid4().hex
        free = or_(WelcomeMail.claim.is_(None), WelcomeMail.claimed_until < now)
        until = now + timedelta(seconds=CLAIM_SECONDS)
        taken = self._update(WelcomeMail.sent_at.is_(None) & free, claim=claim, claimed_until=until)
        return taken and self.claim == claim

    def release(self) -> None:
        """Give up the claim without sending, so that another run can claim at once; other claims stay."""
        db.session.rollback()
        self._update(WelcomeMail.claim == self.claim, claim=None, claimed_until=None)

    def sent(self) -> None:
        """Record that the mail server accepted the mail."""
        self._update(WelcomeMail.sent_at.is_(None), sent_at=utcnow())

    def claim_left(self) -> float:
        """Seconds until the current claim expires."""
        db.session.refresh(self)
        return max(0.0, (self.claimed_until - utcnow()).total_seconds()) if self.claimed_until else 0.0

    def _update(self, condition: Any, **values: Any) -> bool:
        """Run one UPDATE, which only one of two processes can win; returns whether this one did."""
        mine = WelcomeMail.user_id == self.user_id
        done = changed(update(WelcomeMail).where(mine & condition).values(**values))
        db.session.commit()
        return done == 1


class Session(db.Model):
    """The link in a welcome mail; after it expires, the nightly clean-up deletes it."""

    __tablename__ = "sessions"

    token: Mapped[str] = mapped_column(String(32), primary_key=True, default=_token)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)

    user: Mapped[User] = relationship(back_populates="sessions")


class Photo(db.Model):
    """A picture as uploaded.

    Its bytes are in the database, so web and workers need no other shared storage. A shop with many pictures would keep
    them in an object store, and the object's name here.
    """

    __tablename__ = "photos"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=_token)
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(32))
    original: Mapped[bytes] = deferred(mapped_column(LargeBinary))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class Thumbnail(db.Model):
    """One size of a photo, as JPEG."""

    __tablename__ = "thumbnails"

    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id"), primary_key=True)
    size: Mapped[str] = mapped_column(String(16), primary_key=True)
    width: Mapped[int]
    height: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Delivery(db.Model):
    """One call to a partner and its result."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64), index=True)
    url: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
