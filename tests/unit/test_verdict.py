"""Is it well? One sentence and a colour, from what was seen; and the quantiles of histograms."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.brokers.values import QueueDepth
from flask_nightshift.domain.orders import Pause
from flask_nightshift.journal.pace import Ended
from flask_nightshift.observe import queues
from flask_nightshift.observe.health import Check
from flask_nightshift.observe.quantiles import quantile
from flask_nightshift.observe.queues import QueueRow
from flask_nightshift.observe.verdict import Signs, Tone, verdict
from flask_nightshift.outbox.claims import Backlog
from flask_nightshift.store.heartbeats import WorkerRow

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
FINE = Check(True, 0.001, "fine")
PAUSE = Pause("mail", NOW, "ada", "too many bounces")


def worker(name: str = "w1@host", problem: str = "", queues: tuple[str, ...] = ("mail",)) -> WorkerRow:
    return WorkerRow(name, "host", 1, NOW, NOW, NOW, queues=queues, problem=problem, concurrency=4)


WELL = Signs(
    parts={"broker": FINE, "database": FINE, "beat": FINE},
    queues=[QueueRow("mail", ready=3, oldest=2.0, rate=1.0, workers=2)],
    workers=[worker(), worker("w2@host")],
    counts={"succeeded": 990, "retried": 10},
)


def down(*names: str) -> dict[str, Check]:
    return {**WELL.parts, **dict.fromkeys(names, Check(False, 2.0, "no answer within 2.0 s"))}


def test_a_sentence_about_a_system_that_is_well() -> None:
    found = verdict(WELL)
    assert (
        found.sentence
        == "All is well: 2 workers run, 200 jobs end each minute, and the oldest job waits for 2 s."
    )
    assert (found.tone, found.troubles) == (Tone.GOOD, ())
    idle = replace(WELL, queues=[QueueRow("mail", ready=0, oldest=0.0)], counts={}, workers=[worker()])
    assert verdict(idle).sentence == "All is well: 1 worker runs, and no job waits."
    slow = replace(idle, counts={"succeeded": 5})
    assert verdict(slow).sentence == "All is well: 1 worker runs, 1 job ends each minute, and no job waits."


@pytest.mark.parametrize(("signs", "tone", "said"), [
    (replace(WELL, parts=down("broker")), Tone.BAD, "The broker does not answer: no answer within 2.0 s. No job"),
    (replace(WELL, parts=down("database", "beat"), workers=None), Tone.BAD, "The database does not answer"),
    (replace(WELL, wiped_at=NOW), Tone.BAD, "The broker lost its data at 2026-11-27 12:00:00 UTC"),
    (replace(WELL, workers=[]), Tone.BAD, "No worker runs, so no job begins."),
    (replace(WELL, workers=[worker(problem="not heard of for 40 s")]), Tone.BAD,
     "No worker is healthy: w1@host: not heard of for 40 s."),
    (replace(WELL, workers=[worker(), worker("w2@host", "its loop has been stuck for 20 s")]), Tone.WARN,
     "1 of 2 workers is not healthy: w2@host: its loop has been stuck for 20 s."),
    (replace(WELL, queues=[QueueRow("mial", ready=12, workers=0)]), Tone.BAD,
     "12 jobs wait in mial, and no worker consumes that queue."),
    (replace(WELL, counts={"succeeded": 97, "dead": 3}), Tone.GOOD, "All is well"),
    (replace(WELL, counts={"succeeded": 2, "dead": 2}), Tone.GOOD, "All is well"),
    (replace(WELL, counts={"succeeded": 57, "dead": 3}, dying="mail.send"), Tone.WARN,
     "3 of the 60 jobs that ended in the last 5 minutes died, most of them mail.send."),
    (replace(WELL, counts={"succeeded": 3, "dead": 3}), Tone.BAD, "3 of the 6 jobs that ended"),
    (replace(WELL, queues=[QueueRow("mail", ready=600, oldest=720.0, time_to_empty=300.0, workers=1)]), Tone.WARN,
     "The oldest of 600 jobs in mail waits for 12 min; at this rate it is empty in 5 min."),
    (replace(WELL, parts=down("beat")), Tone.WARN, "Beat does not run, so old history is not deleted"),
    (replace(WELL, parts=down("beat"), scheduled=15), Tone.BAD,
     "Beat does not run, so none of the 15 entries of the schedule is due"),
    (replace(WELL, queues=[QueueRow("mail", ready=7, oldest=900.0, pause=PAUSE, workers=1)]), Tone.WARN,
     "mail is paused since 2026-11-27 12:00:00 UTC by ada: too many bounces; 7 jobs wait there."),
    (replace(WELL, queues=[QueueRow("mail", ready=0, pause=PAUSE, workers=1)]), Tone.GOOD, "All is well"),
    (replace(WELL, outbox=Backlog(3, 120.0)), Tone.WARN,
     "3 jobs wait in the outbox to be published, the oldest for 2 min."),
    (replace(WELL, outbox=Backlog(3, 12.0)), Tone.GOOD, "All is well"),
    (Signs(parts=WELL.parts, workers=[], used=False), Tone.QUIET, "Nothing has run here yet."),
    (Signs(parts=down("broker"), workers=[], used=False), Tone.BAD, "The broker does not answer"),
])  # fmt: skip
def test_what_is_wrong_is_said(signs: Signs, tone: Tone, said: str) -> None:
    found = verdict(signs)
    assert found.sentence.startswith(said)
    assert found.tone is tone


def test_the_worst_comes_first_and_nothing_is_left_out() -> None:
    signs = replace(WELL, queues=[QueueRow("mail", ready=7, pause=PAUSE, workers=1)], workers=[],
                    parts=down("beat", "broker"), scheduled=1)  # fmt: skip
    found = verdict(signs)
    assert [trouble.tone for trouble in found.troubles] == [Tone.BAD, Tone.BAD, Tone.BAD, Tone.WARN]
    assert [trouble.about for trouble in found.troubles] == ["overview", "workers", "schedules", "queues"]
    assert found.sentence == found.troubles[0].sentence
    assert found.as_dict()["troubles"][3]["tone"] == "warn"


BOUNDS = (1.0, 2.0, 5.0)


@pytest.mark.parametrize(("share", "buckets", "value"), [
    (0.5, (0, 0, 0, 0), None),
    (0.5, (10, 0, 0, 0), 0.5),
    (0.5, (5, 5, 0, 0), 1.0),
    (0.75, (5, 5, 0, 0), 1.5),
    (0.95, (0, 0, 100, 0), 4.85),
    (0.95, (1, 0, 0, 99), 5.0),
    (0.0, (0, 3, 0, 0), 1.0),
    (1.0, (0, 3, 0, 0), 2.0),
])  # fmt: skip
def test_quantiles(share: float, buckets: tuple[int, ...], value: float | None) -> None:
    found = quantile(share, buckets, BOUNDS)
    assert found == (None if value is None else pytest.approx(value))


@given(st.lists(st.floats(0, 4.9), min_size=1), st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_value_of_its_rank(values: list[float], share: float) -> None:
    def bucket(value: float) -> int:
        return sum(bound < value for bound in BOUNDS)

    counts = [0] * 4
    for value in values:
        counts[bucket(value)] += 1
    found = quantile(share, counts, BOUNDS)
    assert found is not None
    ranked = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    bounds = (0.0, *BOUNDS)
    assert bounds[bucket(ranked)] <= found <= bounds[bucket(ranked) + 1]


def test_a_row_of_a_queue() -> None:
    paces = {"mail": Ended(600, NOW - timedelta(seconds=300))}
    workers = [worker(), worker("w2@host", "stuck"), worker("w3@host", queues=("slow",))]
    made = queues.row("mail", QueueDepth("mail", 40, oldest=7.0), PAUSE, workers, paces, None, NOW)
    assert (made.ready, made.oldest, made.estimated) == (40, 7.0, False)
    assert (made.rate, made.time_to_empty) == (2.0, 20.0)
    assert (made.workers, made.places, made.pause) == (1, 4, PAUSE)
    assert made.as_dict()["time_to_empty_seconds"] == 20.0

    silent = QueueDepth("mail", 40)  # RabbitMQ
    told = queues.row("mail", silent, None, workers, {}, {"mail": NOW - timedelta(seconds=9)}, NOW)
    assert (told.oldest, told.estimated, told.rate, told.time_to_empty) == (9.0, True, 0.0, None)
    assert queues.row("mail", silent, None, workers, {}, {}, NOW).oldest is None
    empty = queues.row("mail", QueueDepth("mail", 0), None, workers, {}, {"mail": NOW - timedelta(9)}, NOW)
    assert (empty.oldest, empty.estimated, empty.time_to_empty) == (0.0, False, 0.0)
    unknown = queues.row("mail", None, None, None, None, None, NOW)
    assert unknown == QueueRow("mail")
    assert not unknown.unheard
