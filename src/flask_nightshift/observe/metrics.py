"""``GET /metrics``: the numbers of the whole cluster for Prometheus.

Totals come from the database, where all workers add to them, so they stay correct over restarts and for any number of
processes. Scrape one web process, not each. If a source is down, its samples are missing and its ``nightshift_up`` is
0; an unknown number is never reported as 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import add

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from ..domain.job import Outcome
from ..journal import UNKNOWN, TotalsRow, cumulative
from ..outbox.claims import COUNTED
from ..services import Services
from . import overview as inspector
from .overview import Overview

ALWAYS = (Outcome.SUCCEEDED, Outcome.RETRIED, Outcome.DEAD)
"""Outcomes that are counted from 0: ``rate()`` and ``increase()`` ignore the first value of a series."""


def exposition(services: Services, accept: str = "") -> tuple[bytes, str]:
    """The metrics as ``(body, content type)``, in OpenMetrics or the classic text format (by the header ``accept``)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Cluster(services))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Cluster(Collector):
    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterable[Metric]:
        return []  # otherwise the registry would query every source at registration

    def collect(self) -> Iterator[Metric]:
        overview = inspector.overview(self._services)
        yield _up(overview)
        yield from _queues(overview)
        yield from _paused(overview)
        yield from _dead_letters(overview)
        yield from _outbox(overview)
        yield from _processes(overview)
        yield from _history(overview)
        yield from _totals(overview, self._services)


def _up(overview: Overview) -> Metric:
    up = GaugeMetricFamily(
        "nightshift_up", "Whether a part of Nightshift answers (1) or not (0).", labels=["part"]
    )
    up.add_metric(["broker"], float(overview.queues.ok))
    up.add_metric(["database"], float(overview.workers.ok))
    return up


def _queues(overview: Overview) -> Iterator[Metric]:
    if not overview.queues.ok:
        return
    depth = GaugeMetricFamily("nightshift_queue_depth", "Jobs that could start now.", labels=["queue"])
    delayed = GaugeMetricFamily(
        "nightshift_queue_delayed", "Jobs that wait for their time.", labels=["queue"]
    )
    leased = GaugeMetricFamily("nightshift_queue_leased", "Jobs in the hands of workers.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "nightshift_queue_oldest_seconds",
        "Age in seconds of the oldest job that could start now.",
        labels=["queue"],
    )
    for queue in overview.queues.value:
        depth.add_metric([queue.queue], queue.ready)
        for family, value in ((delayed, queue.delayed), (leased, queue.leased), (oldest, queue.oldest)):
            if value is not None:
                family.add_metric([queue.queue], value)
    yield from (family for family in (depth, delayed, leased, oldest) if family.samples)
    if overview.delayed.ok and overview.delayed.value is not None:
        yield GaugeMetricFamily(
            "nightshift_delayed",
            "Jobs that wait for their time, in all queues.",
            value=overview.delayed.value,
        )


def _paused(overview: Overview) -> Iterator[Metric]:
    if overview.paused.ok and overview.queues.ok:
        paused = GaugeMetricFamily(
            "nightshift_queue_paused", "Whether the queue is paused (1) or not (0).", labels=["queue"]
        )
        for queue in overview.queues.value:
            paused.add_metric([queue.queue], float(queue.queue in overview.paused.value))
        yield paused


def _dead_letters(overview: Overview) -> Iterator[Metric]:
    archived, pending = overview.dead_letters, overview.dead_pending
    if archived.ok and pending.ok:
        yield GaugeMetricFamily(
            "nightshift_dead_letters",
            "Dead letters that wait for a decision: archived ones and those still in the dead-letter queue.",
            value=archived.value + pending.value,
        )
    if pending.ok:
        yield GaugeMetricFamily(
            "nightshift_dead_letters_unarchived",
            "Dead letters in the broker's dead-letter queue, not yet in the database.",
            value=pending.value,
        )


def _outbox(overview: Overview) -> Iterator[Metric]:
    if overview.outbox.ok:
        rows, oldest = overview.outbox.value
        yield GaugeMetricFamily(
            "nightshift_outbox_rows",
            f"Jobs whose transaction has committed and that are not in the broker yet (at most {COUNTED} are counted).",
            value=rows,
        )
        yield GaugeMetricFamily(
            "nightshift_outbox_oldest_seconds",
            "Age in seconds of the oldest job in the outbox.",
            value=oldest,
        )


def _processes(overview: Overview) -> Iterator[Metric]:
    if overview.workers.ok:
        healthy = [row for row in overview.workers.value if row.healthy]
        running = sum(len(row.busy) for row in healthy)
        yield GaugeMetricFamily(
            "nightshift_workers", "Workers that report and whose loop turns.", value=len(healthy)
        )
        yield GaugeMetricFamily("nightshift_jobs_running", "Jobs that run now.", value=running)
    if overview.beat.ok and overview.beat.value.last_tick is not None:
        age = max(0.0, (overview.at - overview.beat.value.last_tick).total_seconds())
        yield GaugeMetricFamily(
            "nightshift_beat_last_tick_seconds", "Seconds since Beat's last tick.", value=age
        )


def _history(overview: Overview) -> Iterator[Metric]:
    if overview.lost_records.ok:
        yield CounterMetricFamily(
            "nightshift_history_lost",
            "Records of jobs that the history dropped, because its database was away for long.",
            value=overview.lost_records.value,
        )


def _totals(overview: Overview, services: Services) -> Iterator[Metric]:
    if not overview.totals.ok:
        return
    rows = _bounded(overview.totals.value, {task.name for task in services.tasks()})
    jobs = CounterMetricFamily(
        "nightshift_jobs", "Ended attempts by outcome.", labels=["task", "queue", "outcome"]
    )
    counts = {(row.task, row.queue, outcome): 0 for row in rows for outcome in ALWAYS}
    counts |= {(row.task, row.queue, row.outcome): row.count for row in rows}
    for (task, queue, outcome), count in counts.items():
        jobs.add_metric([task, queue, str(outcome)], count)
    yield jobs
    yield _histogram("nightshift_job_runtime_seconds", "How long attempts ran.", rows, "runtime")
    yield _histogram(
        "nightshift_job_wait_seconds", "How long jobs stood ready before they started.", rows, "wait"
    )


def _bounded(rows: Iterable[TotalsRow], declared: set[str]) -> list[TotalsRow]:
    """``rows`` with all unknown tasks merged into one, because anyone who can write to the broker can invent names.

    A task is known if this app declares it, or if a worker has run it.
    """
    rows = list(rows)
    known = declared | {row.task for row in rows if any(row.runtime_buckets)}
    sums: dict[tuple[str, str, str], TotalsRow] = {}
    for row in rows:
        named = row if row.task in known else replace(row, task=UNKNOWN)
        key = (named.task, named.queue, str(named.outcome))
        sums[key] = sums[key] + named if key in sums else named
    return list(sums.values())


def _histogram(name: str, help_: str, rows: Iterable[TotalsRow], kind: str) -> Metric:
    """One histogram by task and queue, over all outcomes."""
    buckets: dict[tuple[str, str], tuple[int, ...]] = {}
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        key = (row.task, row.queue)
        counts = getattr(row, f"{kind}_buckets")
        buckets[key] = tuple(map(add, buckets[key], counts)) if key in buckets else counts
        sums[key] += getattr(row, f"{kind}_sum")
    family = HistogramMetricFamily(name, help_, labels=["task", "queue"])
    for key, counts in buckets.items():
        family.add_metric(list(key), cumulative(counts), sums[key])
    return family


__all__ = ["exposition"]
