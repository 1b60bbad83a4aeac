"""A job about to be published: made like another one, stamped, encoded, and told of.

Its message is Celery's (``create_task_message``); nothing here talks to a broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu.serialization import dumps

from ..domain.events import JobEnqueued
from ..domain.job import JobRef, utcnow
from ..message.codec import encode
from ..message.envelope import Envelope
from ..message.headers import HISTORY, parse_time, stamp
from .request_id import request_id


@dataclass(slots=True)
class Draft:
    """The job ``id``, not published yet.

    ``headers`` and ``properties`` are its message's, ``body`` is ``(args, kwargs, embed)``, not encoded yet; ``at`` is
    when it was enqueued, once it is stamped.
    """

    id: str
    at: datetime
    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any

    def like(self, job_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Draft:
        """A job that differs from this one in its id and arguments."""
        headers = {**self.headers, "id": job_id, "argsrepr": brief(args), "kwargsrepr": brief(kwargs)}
        headers["root_id"] = self.headers["root_id"] or job_id
        properties = {**self.properties, "correlation_id": job_id}
        return Draft(job_id, self.at, headers, properties, (args, kwargs, self.body[2]))

    def stamp(self, queue: str) -> None:
        """It is being enqueued now, unless its headers say that it was before."""
        again = HISTORY in self.headers
        self.at = utcnow()
        stamp(self.headers, queue=queue, at=self.at, request_id=request_id())
        if again:
            self.at = parse_time(self.headers[HISTORY].get("enqueued_at")) or self.at

    def envelope(self, serializer: str) -> Envelope:
        """Its message; raises what kombu does for a body that ``serializer`` cannot encode."""
        if serializer == "json":
            try:
                return Envelope(encode(self.body), self.headers, self.properties)
            except (TypeError, ValueError):
                pass  # let kombu say what is wrong with it
        content_type, content_encoding, body = dumps(self.body, serializer)
        raw = body.encode() if isinstance(body, str) else body
        return Envelope(raw, self.headers, self.properties, content_type, content_encoding)

    def enqueued(self, task: str, queue: str, due: datetime | None) -> JobEnqueued:
        """That the broker has it."""
        headers = self.headers
        attempt = int(headers.get("retries") or 0) + 1
        ref = JobRef(self.id, task, queue, attempt, headers[HISTORY].get("request_id"), self.at)
        return JobEnqueued(ref, self.at, headers["argsrepr"], headers["kwargsrepr"], due)


def brief(value: Any, limit: int = 1024) -> str:
    """``value`` as text for people, with at most ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


__all__ = ["Draft", "brief"]
