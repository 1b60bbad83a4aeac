"""The life of a lease on Redis and Valkey: a worker is killed, and another one runs its job."""

from __future__ import annotations

from .svg import arrow, bar, words
from .svg import drawing as drawing_of

_LANES = ("ready list", "lease of A", "worker A", "worker B", "lease of B")
_TOP, _STEP, _LEFT, _RIGHT = 84, 62, 130, 990


def drawing() -> str:
    """The picture of docs/life-of-a-lease.md."""
    ready, lease_a, a, b, lease_b = (_TOP + _STEP * number for number in range(len(_LANES)))
    lanes = [
        words(20, y + 17, name, bold=True, anchor="start")
        for name, y in zip(_LANES, (ready, lease_a, a, b, lease_b), strict=True)
    ]
    rules = [
        f'<line class="lane" x1="{_LEFT}" y1="{y + 44}" x2="{_RIGHT}" y2="{y + 44}"/>'
        for y in (ready, lease_a, a, b)
    ]
    parts = [
        *lanes, *rules,
        bar(_LEFT, ready, 110, "wait", "the message"),
        arrow((240, ready + 26), (240, lease_a)),
        words(248, ready + 17, "claim", small=True, anchor="start"),
        bar(240, lease_a, 470, "hold", "the message; deadline renewed every 3 s, as server time"),
        *(f'<circle class="tip" cx="{x}" cy="{lease_a + 34}" r="3"/>' for x in (290, 350, 410)),
        arrow((270, lease_a + 26), (270, a)),
        words(278, a - 8, "begins: the delivery is counted", small=True, anchor="start"),
        bar(270, a, 170, "hold", "the body runs"),
        words(452, a + 17, "killed: its connection is gone at once", small=True, anchor="start"),
        f'<line class="line" stroke-width="2.5" x1="434" y1="{a - 4}" x2="448" y2="{a + 30}"/>',
        f'<line class="line" stroke-width="2.5" x1="448" y1="{a - 4}" x2="434" y2="{a + 30}"/>',
        *(f'<circle class="tip" cx="{x}" cy="{b + 13}" r="4"/>' for x in (560, 710)),
        words(550, b + 17, "A is missing", small=True, anchor="end"),
        words(635, b + 9, "2 s", small=True),
        f'<line class="line" stroke-dasharray="4 4" x1="566" y1="{b + 13}" x2="704" y2="{b + 13}"/>',
        arrow((710, b + 7), (710, ready + 40), (725, ready + 40), (725, ready + 26)),
        words(720, b + 17, "still missing: returns it", small=True, anchor="start"),
        bar(715, ready, 60, "wait"),
        words(783, ready + 17, "at the head of its queue", small=True, anchor="start"),
        arrow((775, ready + 13), (779, ready + 13), (779, ready + 40), (950, ready + 40), (950, lease_b)),
        words(942, ready + 58, "claim", small=True, anchor="end"),
        bar(900, lease_b, 90, "hold", "B holds it"),
        words(890, lease_b + 17, "B runs the job again: the second delivery", small=True, anchor="end"),
        words(_LEFT, 40, "At every moment the message is in one place on the server.", bold=True, anchor="start"),
        words(_LEFT, 60, "time runs from left to right", small=True, anchor="start"),
    ]  # fmt: skip
    description = (
        "A message moves from the ready list to the lease of worker A, which renews its deadline every 3 seconds. The "
        "body begins and the delivery is counted. A is killed. Worker B sees twice, 2 seconds apart, that A's "
        "connection is missing, and returns the message to the head of its queue. B claims it and runs the job again."
    )
    return drawing_of(1010, 400, "The life of a lease", description, parts)


__all__ = ["drawing"]
