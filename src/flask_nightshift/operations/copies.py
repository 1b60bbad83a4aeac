"""Enqueue a job again, or a changed copy of it: a new job with an id of its own, which names the original.

That needs the job's message. Dead letters have it, durable jobs that have not ended, jobs that wait in an outbox, and
delayed jobs where the broker can list them.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from ..config.queue_names import queue_name
from ..dead_letters import ArchivedLetter, Status
from ..domain.job import utcnow
from ..domain.relations import Relations
from ..enqueue.composed import Composed
from ..enqueue.ids import new_id
from ..errors import ArgumentsRefused, BodyNotKept, DeadLetterNotFound, DuplicateJob, JobNotFound
from ..message import changes
from ..message.changes import Editable
from ..message.envelope import Envelope
from ..message.headers import DURABLE, HISTORY
from ..message.relations import relations_in
from ..message.unique import Holders, lock_of
from ..outbox import waiting_rows
from ..services import Services
from . import changing, dead_letters, delayed, ids, jobs

GOES_ON = (Status.REPLAYED, Status.REPLAYING)
DEAD_LETTER, OUTBOX, DELAYED = "dead letter", "durable or in an outbox", "delayed"


class Original(NamedTuple):
    """A job whose message is kept; ``kept`` says as what: ``DEAD_LETTER``, ``OUTBOX`` or ``DELAYED``."""

    job_id: str
    task: str
    queue: str
    envelope: Envelope
    kept: str


class Copy(NamedTuple):
    """The new job. ``left`` says that it is no part of the group or chord that its original was a part of."""

    job_id: str
    original_id: str
    task: str
    queue: str
    changed: bool
    left: bool

    def as_dict(self) -> dict[str, str | bool]:
        """Plain JSON types."""
        return self._asdict()


def original(services: Services, given: str) -> Original:
    """The job that ``given`` means (an id, its start or its end; also of a dead letter), with its message.

    A job that was replayed, perhaps with other arguments, goes on as its message says now, and not as its dead letter
    does, unless ``given`` is the id of the letter.

    Raises ``JobNotFound``, ``BodyNotKept``, ``DatabaseUnavailable`` or ``BrokerUnavailable``.
    """
    try:
        archived = dead_letters.find(services, given)
    except DeadLetterNotFound:
        archived = None
    if archived is not None:
        job_id = archived.letter.job_id
        itself = archived.letter.id.startswith(given) or archived.letter.id.endswith(given)
        if job_id and archived.status in GOES_ON and not itself:
            if living := _living(services, job_id):
                return living
            if archived.new_args is not None or archived.new_kwargs is not None:
                raise BodyNotKept(
                    f"the job {job_id} was replayed with other arguments, and that message is not kept. To enqueue it "
                    f"with those of its dead letter, name the letter: {archived.letter.id}"
                )
        return _of_letter(archived)
    job_id = _named(services, given)
    found = _living(services, job_id)
    if found is None:
        raise BodyNotKept(
            f"the message of the job {job_id} is not kept. Dead letters have theirs, durable jobs that have not "
            "ended, and jobs that wait in an outbox; delayed jobs only on Redis and Valkey. Enqueue it from the app."
        )
    return found


def is_durable(services: Services, job_id: str) -> bool:
    """Whether the message of the job is in an outbox: it is durable and has not ended, or waits there."""
    return waiting_rows.with_message(services.outboxes, job_id) is not None


def editable(services: Services, found: Original) -> Editable:
    """Its arguments as JSON, for somebody who changes them; raises ``ArgumentsRefused``."""
    return changing.editable(services, found.envelope)


def enqueue(
    services: Services,
    given: str,
    *,
    args: str | None = None,
    kwargs: str | None = None,
    queue: str | None = None,
    unchanged: bool = True,
) -> Copy:
    """Enqueue a copy of the job that ``given`` means, with other arguments if some are given (``changing.changed``).

    It runs at once, in ``queue`` or the original's. Its callbacks and the rest of its chain run after it, under new
    ids; it is no part of the original's group or chord. Without ``unchanged``, arguments that are the same are refused,
    for somebody who may change jobs and not run them. Raises what ``original`` raises, ``ArgumentsRefused``,
    ``ConfigurationError`` if ``queue`` is no name of a queue, and ``DuplicateJob`` if another job holds the lock of a
    unique one. Then nothing was enqueued.
    """
    if queue is not None:
        queue_name("queue", queue)
    found = original(services, given)
    target = queue or found.queue
    if not target:
        raise ArgumentsRefused("the queue that it came from is not known: name one with --queue")
    altered = changing.changed(services, found.envelope, args, kwargs)
    if altered is found.envelope:
        changing.check_unchanged(unchanged)
    made = changes.copied(altered, new_id(), target, utcnow())
    changing.check_once(services, made)
    _publish(services, made, target, found)
    left = bool(found.envelope.headers.get("group") or changes.body_of(found.envelope).embed.get("chord"))
    new = str(made.headers["id"])
    return Copy(new, found.job_id, found.task, target, altered is not found.envelope, left)


def _publish(services: Services, made: Envelope, queue: str, found: Original) -> None:
    told = (relations_in(made) or Relations())._replace(origin=found.job_id)
    job = Composed(_complete(made), queue, utcnow(), relations=told)
    held: Holders = {}
    if made.headers[HISTORY].get(DURABLE):
        held = services.outbox.keep([job])
    else:
        services.celery.publisher.sender.send([job], held)
    services.journal.flush()
    lock = lock_of(made.headers)
    if held and lock is not None:
        raise DuplicateJob(found.task, lock.key, held[job.job_id])


def _complete(made: Envelope) -> Envelope:
    """With the short texts that a plain Celery producer may have left out."""
    texts = {name: str(made.headers.get(name) or "") for name in ("argsrepr", "kwargsrepr")}
    return replace(made, headers={**made.headers, **texts})


def _living(services: Services, job_id: str) -> Original | None:
    """The job as it waits in an outbox, is durable, or is delayed."""
    return _in_outbox(services, job_id) or _delayed(services, job_id)


def _of_letter(archived: ArchivedLetter) -> Original:
    letter = archived.letter
    if not letter.job_id or not letter.task:
        raise BodyNotKept(f"the dead letter {letter.id} is not the message of a job ({letter.reason})")
    envelope = Envelope(
        letter.body, letter.headers, letter.properties, letter.content_type, letter.content_encoding
    )
    return Original(letter.job_id, letter.task, letter.queue, envelope, DEAD_LETTER)


def _named(services: Services, given: str) -> str:
    """The id of the job that ``given`` means: one of the history, else one that only the broker knows."""
    try:
        record = jobs.find(services, given)
    except JobNotFound:
        hold = services.broker.delayed_jobs()
        if hold is None:
            raise
        found = ids.delayed_id(hold, services.queues(), given)
        if delayed.message(services, found) is None:
            raise
        return found
    return record.id


def _in_outbox(services: Services, job_id: str) -> Original | None:
    row = waiting_rows.with_message(services.outboxes, job_id)
    if row is None:
        return None
    return Original(job_id, row.task, row.queue, row.envelope(), OUTBOX)


def _delayed(services: Services, job_id: str) -> Original | None:
    found = delayed.message(services, job_id)
    if found is None:
        return None
    return Original(job_id, found.task, found.queue, found.envelope, DELAYED)


__all__ = ["Copy", "Editable", "Original", "editable", "enqueue", "is_durable", "original"]
