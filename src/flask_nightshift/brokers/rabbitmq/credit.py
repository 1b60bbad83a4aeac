"""How many messages RabbitMQ may send to a worker from one queue. Pure.

RabbitMQ fixes the prefetch count of a consumer when it begins, and cancelling a consumer leaves it the messages that it
has. So a worker takes more by a further consumer, and less by cancelling all of them for a smaller one.
What is on its way to a cancelled consumer comes back to the queue, and counts as delivered. So a worker cancels seldom,
and only consumers that have all that they may get, or have got nothing for a while (``intake.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

FAR = 4
"""A worker may hold as many times what it should, before its consumers are replaced."""


@dataclass(frozen=True, slots=True)
class Change:
    """Whether to cancel the queue's consumers, and the prefetch count of the consumer to begin then; 0: none."""

    cancel: bool
    begin: int


def change(*, held: int, room: int, want: int, least: int, free: int) -> Change | None:
    """What to change in order to hold up to ``want`` messages of the queue; None if it is near enough.

    The worker holds ``held`` of them, and its consumers may get ``room`` more. It should hold ``least`` at the least,
    and may take ``free`` more from all queues together; less than nothing if it holds too many.
    """
    may_hold = held + room
    if may_hold > FAR * want or (want <= least and may_hold > want):
        return Change(True, max(0, min(want - held, free)))
    if free > 0 and (may_hold < least or 2 * may_hold <= want):
        return Change(False, min(want - may_hold, free))
    return None


__all__ = ["Change", "change"]
