"""Every error that Nightshift raises, as one shallow tree.

    NightshiftError
    ├── ConfigurationError       a NIGHTSHIFT_* value is wrong (also a ValueError)
    ├── BrokerUnavailable        the broker did not take or give a message in time
    │   └── EmbeddedBrokerDown   embedded:// and no server runs for this instance folder
    ├── DatabaseUnavailable      the history cannot be read or written now
    ├── JobNotFound              no job with that id, or several with that part of an id
    ├── DeadLetterNotFound       no dead letter with that id
    ├── Unsupported              an action that this broker cannot do
    ├── IncompatibleLibrary      Celery, kombu, … is a version that Nightshift does not fit
    └── PermanentFailure         raised by a task: do not retry, bury

Each message names the wrong value and what to do.
"""

from __future__ import annotations


class NightshiftError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(NightshiftError, ValueError):
    """A configuration value is not usable.

    The message names the key, the value and what is allowed.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key} = {value!r} is not usable: {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


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


class DatabaseUnavailable(NightshiftError):
    """The history database cannot be used now; jobs run without it."""


class JobNotFound(NightshiftError, LookupError):
    """There is no job with that id, or several have that part of an id."""


class DeadLetterNotFound(NightshiftError, LookupError):
    """There is no dead letter with that id."""


class Unsupported(NightshiftError):
    """The broker cannot do what was asked; the message names one that can."""


class IncompatibleLibrary(NightshiftError):
    """A library lacks an internal name that Nightshift depends on, so a worker does not start.

    The message gives that name, what we need it for, and the installed and the checked version.
    """


class PermanentFailure(NightshiftError):
    """Raise it in a task when another attempt cannot help: the job becomes a dead letter at once."""
