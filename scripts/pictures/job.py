"""The life of a job: its states, and what leads from one to the next."""

from __future__ import annotations

from .svg import Box, arrow, words
from .svg import drawing as drawing_of


def drawing() -> str:
    """The picture of docs/life-of-a-job.md."""
    code = Box(24, 84, 150, "your code", "enqueues a job")
    outbox = Box(24, 228, 150, "outbox", "in your transaction", "wait")
    queued = Box(290, 84, 150, "queued", "ready, in the broker", "wait")
    running = Box(560, 84, 150, "running", "leased to one worker", "hold")
    succeeded = Box(836, 84, 180, "succeeded", "message acknowledged", "good")
    retrying = Box(440, 228, 150, "retrying", "delayed, in the broker", "wait")
    dead = Box(836, 228, 180, "dead", "in the dead-letter queue", "bad")
    letter = Box(836, 356, 180, "dead letter", "row in the database", "bad")
    parts = [
        code, outbox, queued, running, succeeded, retrying, dead, letter,
        arrow((174, 112), (290, 112)), words(232, 104, "delay()", small=True),
        arrow((99, 140), (99, 228)), words(107, 190, "delay_on_commit()", small=True, anchor="start"),
        arrow((174, 256), (320, 256), (320, 140)), words(182, 248, "after the commit", small=True, anchor="start"),
        arrow((440, 112), (560, 112)), words(500, 104, "claimed, begun", small=True),
        arrow((710, 112), (836, 112)), words(773, 104, "returned", small=True),
        arrow((600, 140), (600, 180), (515, 180), (515, 228)),
        words(590, 172, "failed, another try is left", small=True, anchor="end"),
        arrow((440, 256), (400, 256), (400, 140)), words(432, 214, "due", small=True, anchor="end"),
        arrow((670, 140), (670, 256), (836, 256)), words(680, 206, "failed for good", small=True, anchor="start"),
        arrow((926, 284), (926, 356)), words(918, 324, "archived", small=True, anchor="end"),
        arrow((836, 384), (360, 384), (360, 140)), words(600, 376, "replay: the same id, fresh attempts", small=True),
        arrow((635, 84), (635, 40), (365, 40), (365, 84)),
        words(500, 32, "its worker is gone, or stopped in order: back to the head of the queue", small=True),
    ]  # fmt: skip
    description = (
        "A job is queued by delay(), or through the outbox after the commit. A worker claims it and runs it. It "
        "succeeds, or is delayed for a retry and queued again when due, or is dead and archived as a dead letter, "
        "which a replay queues again. If its worker is gone, it returns to its queue."
    )
    return drawing_of(1040, 440, "The life of a job", description, parts)


__all__ = ["drawing"]
