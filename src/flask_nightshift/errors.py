"""Every error that Nightshift raises, as one shallow tree.

    NightshiftError
    ├── ConfigurationError       a NIGHTSHIFT_* value is wrong (also a ValueError)
    ├── BrokerUnavailable        the broker did not take or give a message in time
    │   └── EmbeddedBrokerDown   embedded:// and no server runs for this instance folder
    ├── AlreadyInProgress        another one does now what jobs.once() was asked to do
    ├── Cancelled                raised in a job that was cancelled, by jobs.current.check_cancelled()
    ├── DatabaseUnavailable      the history cannot be read or written now
    ├── DuplicateJob             another job holds the lock of this unique one
    ├── JobNotFound              no job with that id, or several with that part of an id
    ├── JobEnded                 the job has ended, so it cannot be cancelled
    ├── DeadLetterNotFound       no dead letter with that id
    ├── BulkActionNotFound       no bulk action with that id, or several with that part of an id
    ├── BulkActionEnded          the bulk action has ended, so it cannot be cancelled
    ├── BodyNotKept              the job's message is gone, so nothing can enqueue it again
    ├── ArgumentsRefused         the arguments that somebody gave for a replay or a copy do not fit the job
    ├── InvalidKey               no page of a list has given that key
    ├── InvalidQuery             a search for jobs is wrong: a field, a state, a time
    ├── QueueNotFound            nothing names that queue, and no job was ever there
    ├── EntryNotFound            the schedule has no entry of that name
    ├── NothingToSkip            an entry of the schedule has no next run, or it has begun
    ├── TokenNotFound            no token of the HTTP API has that name or id
    ├── Unsupported              an action that this broker cannot do
    ├── IncompatibleLibrary      Celery, kombu, … is a version that Nightshift does not fit
    └── PermanentFailure         raised by a task: do not retry, bury

Each message names the wrong value and what to do.
"""

from __future__ import annotations

from datetime import datetime


class NightshiftError(Exception):
    """The root of all errors of this package.

    ``acted_on``: on how many jobs or dead letters an action had acted before the error; None if it does not tell.
    """

    acted_on: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigurationError(NightshiftError, ValueError):
    """A configuration value is not usable.

    The message names the key, the value and what is allowed.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key, value, allowed)  # pickle, and a result backend, make it again from these
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r} is not usable: {self.allowed}"


class BrokerUnavailable(NightshiftError):
    """The broker is down, refuses, or did not answer in time.

    The broker did not accept the message; or it did, but its confirmation was lost: then the job runs. In a web
    request, answer 503 with ``Retry-After``.

    ``retry_after`` is a suggested wait in seconds. ``enqueued`` are the ids of the jobs that an ``enqueue_many()`` had
    enqueued before the error.
    """

    retry_after: int = 5
    enqueued: tuple[str, ...] = ()


class EmbeddedBrokerDown(BrokerUnavailable):
    """The broker URL is ``embedded://``, and no server runs for this instance folder."""


class AlreadyInProgress(NightshiftError):
    """Another job, or another process, does now what ``jobs.once()`` guards; try again later.

    A job does not see this: it runs again later, and the wait is no attempt. ``key`` is the block's key. ``job_id`` is
    the job that does the work and ``since`` when it began; both are None if that is unknown.
    """

    def __init__(self, key: str, who: str, job_id: str | None = None, since: datetime | None = None) -> None:
        super().__init__(key, who, job_id, since)
        self.key = key
        self.who = who
        self.job_id = job_id
        self.since = since

    def __str__(self) -> str:
        return f"{self.key!r} is in progress: {self.who} does it"


class Cancelled(NightshiftError):
    """Somebody has cancelled the running job; ``jobs.current.check_cancelled()`` raises it.

    The job ends as cancelled, also if its body catches this.
    """


class DatabaseUnavailable(NightshiftError):
    """The history database cannot be used now; jobs run without it."""


class DuplicateJob(NightshiftError):
    """A unique job was not enqueued, because the job ``job_id`` holds its lock (``on_duplicate="raise"``).

    ``key`` is the lock's key. ``enqueued`` are the ids of the jobs that the same ``enqueue_many()`` enqueued.
    """

    def __init__(self, task: str, key: str, job_id: str, enqueued: tuple[str, ...] = ()) -> None:
        super().__init__(task, key, job_id, enqueued)
        self.task = task
        self.key = key
        self.job_id = job_id
        self.enqueued = tuple(enqueued)

    def __str__(self) -> str:
        return f"{self.task} is unique, and the job {self.job_id} holds its lock"


class JobNotFound(NightshiftError, LookupError):
    """There is no job with that id, or several have that part of an id."""


class JobEnded(NightshiftError):
    """The job has ended, so it cannot be cancelled; the message says how it ended."""


class DeadLetterNotFound(NightshiftError, LookupError):
    """There is no dead letter with that id."""


class BulkActionNotFound(NightshiftError, LookupError):
    """There is no bulk action with that id, or several have that part of an id."""


class BulkActionEnded(NightshiftError):
    """The bulk action has ended, so it cannot be cancelled; the message says how it ended."""


class BodyNotKept(NightshiftError, LookupError):
    """Only some jobs keep their message: dead letters, durable jobs, delayed jobs. The job is none of these."""


class ArgumentsRefused(NightshiftError, ValueError):
    """A job cannot be replayed or copied with these arguments; the message says why, and nothing was done."""


class InvalidKey(NightshiftError, ValueError):
    """The text is not the key with which a page of a list begins."""


class InvalidQuery(NightshiftError, ValueError):
    """A search for jobs has an unknown field, state or time; the message names it and what is allowed."""


class QueueNotFound(NightshiftError, LookupError):
    """Nothing names that queue, and no job was ever there; the message has the nearest one."""


class EntryNotFound(NightshiftError, LookupError):
    """The schedule has no entry of that name; the message has the nearest one."""


class NothingToSkip(NightshiftError):
    """An entry of the schedule has no next run to leave out, or it was enqueued already."""


class TokenNotFound(NightshiftError, LookupError):
    """No token of the HTTP API has that name or id, or it was revoked."""


class Unsupported(NightshiftError):
    """The broker cannot do what was asked; the message names one that can."""


class IncompatibleLibrary(NightshiftError):
    """A library lacks an internal name that Nightshift depends on, so a worker does not start.

    The message gives that name, what we need it for, and the installed and the checked version.
    """


class PermanentFailure(NightshiftError):
    """Raise it in a task when another attempt cannot help: the job becomes a dead letter at once."""
