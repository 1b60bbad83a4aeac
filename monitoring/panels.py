"""What the dashboard shows: its rows, and the queries of their panels.

``$job``, ``$task`` and ``$queue`` are the dashboard's variables. Several web processes may answer for one cluster, each
with the numbers of the whole, so queries take the ``max`` over them, and never the sum.
"""

from __future__ import annotations

from dataclasses import dataclass

JOB = 'job="$job"'
QUEUE = f'{JOB},queue=~"$queue"'
TASK = f'{QUEUE},task=~"$task"'


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and how the legend names each of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``unit`` is Grafana's name of a unit.

    ``stat``: one number instead of a chart; it is red from ``red`` on, or below ``red`` if ``low_is_bad``.
    ``may_be_empty`` says why the query returns nothing in an ordinary cluster; empty: it always returns something.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    unit: str = "short"
    stat: bool = False
    red: float | None = None
    low_is_bad: bool = False
    stacked: bool = False
    may_be_empty: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def _now(metric: str) -> tuple[Query, ...]:
    return (Query(f"max(nightshift_{metric}{{{JOB}}})", ""),)


def _by_queue(metric: str) -> tuple[Query, ...]:
    return (Query(f"max by (queue) (nightshift_{metric}{{{QUEUE}}})", "{{queue}}"),)


def _rate(metric: str, by: str, only: str = TASK) -> str:
    """The rate of a counter by ``by``, of the cluster: the highest that any web process shows."""
    inner = "task, queue, outcome" if metric == "jobs_total" else "task, queue, le"
    return f"sum by ({by}) (max by ({inner}) (rate(nightshift_{metric}{{{only}}}[$__rate_interval])))"


def _quantile(q: float, kind: str, by: str) -> Query:
    buckets = _rate(f"job_{kind}_seconds_bucket", f"{by}, le")
    return Query(f"histogram_quantile({q}, {buckets})", f"{{{{{by}}}}} p{q * 100:g}")


FAILED = _rate("jobs_total", "task", f'{TASK},outcome=~"retried|dead"')
DEATHS = f'nightshift_jobs_total{{{TASK},outcome="dead"}}'
ENDED = _rate("jobs_total", "task", f'{TASK},outcome=~"succeeded|retried|dead"')

ROWS = (
    Row(
        "Now",
        (
            Panel(
                "Broker",
                "1 if the broker answers the web app.",
                (Query(f'min(nightshift_up{{{JOB},part="broker"}})', ""),),
                stat=True,
                red=1,
                low_is_bad=True,
            ),
            Panel(
                "Database",
                "1 if the history's database answers the web app.",
                (Query(f'min(nightshift_up{{{JOB},part="database"}})', ""),),
                stat=True,
                red=1,
                low_is_bad=True,
            ),
            Panel(
                "Workers",
                "Workers that report and whose loop turns.",
                _now("workers"),
                stat=True,
                red=1,
                low_is_bad=True,
            ),
            Panel(
                "Beat",
                "Seconds since Beat's last tick.",
                _now("beat_last_tick_seconds"),
                unit="s",
                stat=True,
                red=60,
            ),
            Panel("Running", "Jobs that run now.", _now("jobs_running"), stat=True),
            Panel(
                "Dead letters",
                "Dead letters that wait for a decision.",
                _now("dead_letters"),
                stat=True,
                red=1,
            ),
            Panel(
                "Outbox",
                "Age of the oldest job that waits in an outbox.",
                _now("outbox_oldest_seconds"),
                unit="s",
                stat=True,
                red=120,
            ),
            Panel(
                "History lost",
                "Records that the history has lost, ever.",
                _now("history_lost_total"),
                stat=True,
                red=1,
            ),
        ),
    ),
    Row(
        "Jobs",
        (
            Panel(
                "Ended attempts",
                "Attempts that ended in a second, by outcome.",
                (Query(_rate("jobs_total", "outcome"), "{{outcome}}"),),
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Ended attempts by task",
                "Attempts that ended in a second, by task.",
                (Query(_rate("jobs_total", "task"), "{{task}}"),),
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Failure ratio",
                "Share of a task's attempts that failed (retried or dead).",
                (Query(f"{FAILED} / {ENDED}", "{{task}}"),),
                unit="percentunit",
                red=0.2,
            ),
        ),
    ),
    Row(
        "Queues",
        (
            Panel(
                "Ready",
                "Jobs that could start now. A queue that only grows has too few workers.",
                _by_queue("queue_depth"),
            ),
            Panel(
                "Age of the oldest",
                "Age of the oldest job that could start now.",
                _by_queue("queue_oldest_seconds"),
                unit="s",
                red=300,
                may_be_empty="an empty queue has no oldest job, and RabbitMQ does not tell its age",
            ),
            Panel(
                "In workers' hands",
                "Jobs that workers hold.",
                _by_queue("queue_leased"),
                may_be_empty="RabbitMQ does not tell it",
            ),
            Panel(
                "Delayed",
                "Jobs that wait for their time, in all queues.",
                (Query(f"max(nightshift_delayed{{{JOB}}})", "all queues"),),
            ),
            Panel(
                "Delayed by queue",
                "Jobs that wait for their time.",
                _by_queue("queue_delayed"),
                may_be_empty="RabbitMQ tells only the sum over all queues",
            ),
            Panel("Paused", "1 if the queue is paused.", _by_queue("queue_paused")),
        ),
    ),
    Row(
        "Durations",
        (
            Panel(
                "Run time by task",
                "Half of a task's attempts end within p50, 95 % within p95.",
                (_quantile(0.5, "runtime", "task"), _quantile(0.95, "runtime", "task")),
                unit="s",
            ),
            Panel(
                "Wait by queue",
                "From the moment a job could start until it started.",
                (_quantile(0.5, "wait", "queue"), _quantile(0.95, "wait", "queue")),
                unit="s",
            ),
            Panel(
                "Busy workers' time",
                "Seconds of run time in each second: how many jobs ran at the same time, on average.",
                (Query(_rate("job_runtime_seconds_sum", "task"), "{{task}}"),),
                stacked=True,
            ),
        ),
    ),
    Row(
        "Dead letters and outbox",
        (
            Panel(
                "Dead letters",
                "Those that wait for a decision, and those of them that the database does not have yet.",
                (
                    Query(f"max(nightshift_dead_letters{{{JOB}}})", "waiting"),
                    Query(f"max(nightshift_dead_letters_unarchived{{{JOB}}})", "not archived"),
                ),
            ),
            Panel(
                "Deaths by task",
                "Jobs that died in the last hour.",
                (Query(f"sum by (task) (max by (task, queue) (increase({DEATHS}[1h])))", "{{task}}"),),
            ),
            Panel(
                "Outbox",
                "Jobs whose transaction has committed and that are not in the broker yet.",
                (Query(f"max(nightshift_outbox_rows{{{JOB}}})", "rows"),),
            ),
        ),
    ),
)
