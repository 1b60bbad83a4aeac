r"""The name of every key that the transport uses, and nothing else.

The ready lists are kombu's own, so that plain Celery, Flower and ``LLEN`` see them. All other keys start
with ``nightshift:``. ``prefix`` is kombu's ``global_keyprefix``.

    <queue>, <queue><sep><step>   list    ready messages; the right end is the head
    nightshift:delayed:<queue>    zset    "<step>|<message>" by due time (unix seconds)
    nightshift:bell:<queue>       list    at most one element, lives 2 s: "look, there is something"
    nightshift:wake:<consumer>    list    the same for one consumer alone, rung by its renewer
    nightshift:lease:<consumer>   hash    number → "<queue>\0<step>\0<message>" in that consumer's hands
    nightshift:started:<consumer> set     numbers of what it has begun; "r<first number>" of what it is
                                          just receiving; "0" if it tells at all
    nightshift:leased             hash    queue → how many of its messages are leased
    nightshift:consumers          zset    consumer by lease deadline (unix seconds)
    nightshift:clients            hash    consumer → Redis client id of its renewer
    nightshift:publisher:<name>   string  number of that publisher's last publish, lives 10 s
    nightshift:suspects           zset    consumer whose client is missing, by first sighting
    nightshift:late               zset    consumer whose deadline is near or past, by first sighting
"""

from __future__ import annotations

from dataclasses import dataclass

SEPARATOR = "\x06\x16"
"""What kombu puts between a queue and a priority step."""


@dataclass(frozen=True, slots=True)
class KeySpace:
    """Where on the server: kombu's ``global_keyprefix`` and ``sep``."""

    prefix: str = ""
    sep: str = SEPARATOR


def ready(prefix: str, queue: str, step: int | str = 0, sep: str = SEPARATOR) -> str:
    """The ready list of one priority step."""
    return f"{prefix}{queue}{sep}{step}" if int(step) else f"{prefix}{queue}"


def delayed(prefix: str, queue: str) -> str:
    """What waits for its time."""
    return f"{prefix}nightshift:delayed:{queue}"


def bell(prefix: str, queue: str) -> str:
    """The doorbell that a publish rings; with an empty queue name, what all doorbells start with."""
    return f"{prefix}nightshift:bell:{queue}"


def wake(prefix: str, consumer: str) -> str:
    """The doorbell of one consumer alone."""
    return f"{prefix}nightshift:wake:{consumer}"


def publisher(prefix: str, name: str) -> str:
    """The last word of one connection that publishes."""
    return f"{prefix}nightshift:publisher:{name}"


def lease(prefix: str, consumer: str) -> str:
    """What one consumer has in its hands; with an empty name, what all leases start with."""
    return f"{prefix}nightshift:lease:{consumer}"


def started(prefix: str, consumer: str) -> str:
    """Which of its messages one consumer has begun; with an empty name, what all of these start with."""
    return f"{prefix}nightshift:started:{consumer}"


def leased(prefix: str) -> str:
    """How many messages of each queue are leased."""
    return f"{prefix}nightshift:leased"


def consumers(prefix: str) -> str:
    """The living consumers and their deadlines."""
    return f"{prefix}nightshift:consumers"


def clients(prefix: str) -> str:
    """The Redis client id of each consumer's renewer."""
    return f"{prefix}nightshift:clients"


def suspects(prefix: str) -> str:
    """The consumers whose client was found missing."""
    return f"{prefix}nightshift:suspects"


def late(prefix: str) -> str:
    """The consumers that missed renewals."""
    return f"{prefix}nightshift:late"
