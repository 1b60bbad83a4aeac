"""Check the broker, and whether workers and Beat take what waits there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...brokers.values import Finding, QueueDepth
from ...services import Services
from ...text.counts import plural
from ..bounded_calls import Answer
from ..health import BEAT_FRESH
from ..unheard import near
from .check import Seen, asks, away, looks, some

BROKER_SECONDS = 4.0
"""Maximum seconds to wait for the broker's sign of life."""


@asks(lambda services: services.broker.health(BROKER_SECONDS))
def broker(seen: Seen, health: Answer) -> Iterator[Finding]:
    """Whether the broker answers."""
    url, answered = seen.services.broker.url, health.value
    if not health.ok:
        yield Finding(
            "error",
            "broker",
            away(url, health),
            "Start it, or correct NIGHTSHIFT_BROKER_URL, as the case may be. `flask jobs broker` runs an embedded one.",
        )
    else:
        product = " ".join(filter(None, (answered.product, answered.version)))
        yield Finding("ok", "broker", f"{product} at {url}, {answered.latency * 1000:.1f} ms")


def _diagnose(services: Services) -> Any:
    longest = services.longest_time_limit()
    return services.broker.diagnose(longest_time_limit=longest, queues=services.queues())


@asks(_diagnose, needs=broker)
def diagnosis(_: Seen, found: Answer) -> Iterator[Finding]:
    """What is wrong on the broker's side."""
    if found.ok:
        yield from found.value
    else:
        yield Finding("warning", "broker", f"could not be examined: {found.error}", "Run the doctor again.")


@looks
def queues(seen: Seen) -> Iterator[Finding]:
    """Queues that no worker consumes."""
    if not seen.overview.workers.ok:
        return
    consumed = {queue for view in seen.workers for queue in view.queues}
    named = set(seen.services.queues())
    for depth in _depths(seen):
        if depth.queue in consumed:
            continue
        waiting = depth.ready + (depth.delayed or 0)
        if waiting:
            hint = "" if depth.queue in named else near(depth.queue, consumed | named)
            message = f"{plural(waiting, 'job', 'wait')} in {depth.queue!r} and no worker consumes it.{hint}"
            remedy = f"Start one: `flask jobs worker --queues {depth.queue}`."
            yield Finding("error", "queues", message.removesuffix("."), remedy)
        elif seen.workers and depth.queue in named:
            message = f"no worker consumes {depth.queue!r}, which the configuration or a task names"
            yield Finding(
                "warning", "queues", message, f"Start one: `flask jobs worker --queues {depth.queue}`."
            )


def _depths(seen: Seen) -> Sequence[QueueDepth]:
    if seen.overview.queues.ok:
        return seen.overview.queues.value
    return [QueueDepth(queue, 0) for queue in seen.services.queues()]


@looks
def workers(seen: Seen) -> Iterator[Finding]:
    """Workers that are ill, missing, or of different versions."""
    if not seen.overview.workers.ok:
        return
    for row in seen.overview.workers.value:
        if not row.healthy:
            remedy = (
                "Look at its log and restart it; if it is gone for good, it is forgotten within a day or two."
            )
            yield Finding("warning", "workers", f"{row.name}: {row.problem}", remedy)
    if not seen.workers:
        yield Finding("warning", "workers", "none is alive", "Start one: `flask jobs worker`.")
        return
    versions = sorted({view.version for view in seen.workers})
    if len(versions) > 1:
        message = f"different versions of Flask-Nightshift work together: {', '.join(versions)}"
        yield Finding("warning", "workers", message, "Finish the deployment, or restart the old ones.")
    yield Finding("ok", "workers", f"{len(seen.workers)} alive: {some([v.name for v in seen.workers])}")


@looks
def beat(seen: Seen) -> Iterator[Finding]:
    """Whether a Beat runs."""
    if not seen.overview.beat.ok:
        return
    last, alive = seen.overview.beat.value.last_tick, seen.overview.beat.value.alive
    remedy = "Start one: `flask jobs beat`, or `flask jobs worker --beat`."
    if last is None:
        yield Finding("warning", "beat", "never seen: nothing scheduled runs", remedy)
        return
    age = max(0.0, (seen.overview.at - last).total_seconds())
    if age > BEAT_FRESH:
        yield Finding("warning", "beat", f"last tick {age:.0f} s ago", remedy)
    else:
        several = f"; {len(alive)} run: {some(alive)}" if len(alive) > 1 else ""
        yield Finding("ok", "beat", f"last tick {age:.1f} s ago{several}")


__all__ = ["beat", "broker", "diagnosis", "queues", "workers"]
