"""What the dashboard computes for its pages: words for times and numbers, charts, tracebacks, pictures of attempts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.domain.job import JobState, Outcome
from flask_nightshift.domain.record import AttemptRecord, JobRecord
from flask_nightshift.observe.trends import Period, Point, Trend
from flask_nightshift.web.dashboard import attempts, charts, rendering, tracebacks, trend_charts, words

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
SHOWN_TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.12/site-packages/celery/app/trace.py", line 4, in trace
    return fun()
           ^^^^^
  File "/venv/lib/python3.12/site-packages/flask_nightshift/task/protection.py", line 9, in run
    return body()
  File "/srv/shop/tasks.py", line 7, in send
    client.post(
        order,
    )
  File "/usr/lib/python3.12/json/__init__.py", line 1, in loads
    raise ValueError
ValueError: no
more of it"""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "just now"), (4.9, "just now"), (-3, "now"), (59, "59 s ago"), (61, "1 min ago"), (7_199, "1 h ago"),
     (47 * 3600, "47 h ago"), (49 * 3600, "2 d ago"), (-90, "in 1 min"), (400 * 86_400, "400 d ago")],
)  # fmt: skip
def test_how_long_ago(seconds: float, said: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "\u2013"), (0, "0 ms"), (0.0004, "< 1 ms"), (0.034, "34 ms"), (0.9994, "999 ms"), (0.9996, "1 s"),
     (1.236, "1.24 s"), (59.94, "59.9 s"), (59.96, "1 min"), (75, "1 min 15 s"), (7_500, "2 h 5 min"), (86_400, "1 d"),
     (90_061, "1 d 1 h"), (-2, "\u22122 s")],
)  # fmt: skip
def test_durations(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1k"),
        (1_234, "1.23k"),
        (120_000, "120k"),
        (3_400_000, "3.4M"),
        (0.25, "0.25"),
    ],
)
def test_compact_numbers(value: float, said: str) -> None:
    assert words.compact(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1200, "1,200/s"),
        (12, "12/s"),
        (0.5, "30/min"),
        (0.016, "58/h"),
        (1 / 900, "4/h"),
        (0, "0/min"),
        (None, "\u2013"),
    ],
)
def test_rates(value: float | None, said: str) -> None:
    assert words.rate(value) == said


@pytest.mark.parametrize(("name", "said"), [
    ("mail.send_receipt", "mail.<wbr>send_<wbr>receipt"), ("ada@example.org", "ada@<wbr>example.<wbr>org"),
    ("plain", "plain"), ("", ""), ("<b>.\x1b&", "&lt;b&gt;.<wbr>\\x1b&amp;"),
])  # fmt: skip
def test_long_names_break_at_their_joints(name: str, said: str) -> None:
    assert rendering.breakable(name) == said


def test_other_words() -> None:
    assert [words.percent(each) for each in (0, 0.0001, 0.004, 0.5, 1)] == [
        "0 %",
        "< 0.1 %",
        "0.4 %",
        "50 %",
        "100 %",
    ]
    assert [words.size(each) for each in (None, 840, 1_200_000)] == ["\u2013", "840 bytes", "1.14 MiB"]
    assert words.short("0199a1b2-0000-7000-8000-0123456789ab") == "\u2026456789ab"
    assert words.sentence("it waits") == "It waits."


@given(st.lists(st.none() | st.floats(0, 1e12), max_size=50))
def test_a_scale_has_room_for_every_value_and_round_lines(values: list[float | None]) -> None:
    of = charts.scale(values)
    known = [value for value in values if value is not None]
    assert of.top >= max(known, default=0) * 0.999
    assert of.lines[0] == (0.0, of.top)
    assert of.lines[-1] == (charts.HEIGHT, 0)
    assert len(of.lines) <= 6
    steps = [high - low for (_, high), (_, low) in zip(of.lines, of.lines[1:], strict=False)]
    assert all(math.isclose(step, steps[0]) for step in steps)
    for value in known:
        assert 0 <= of.y(value) <= charts.HEIGHT


def test_a_few_outliers_do_not_flatten_a_chart_and_are_marked() -> None:
    quick = [0.02 + number / 1000 for number in range(30)]
    assert charts.ordinary([*quick, None, 90.0, 60.0], 0.01) == quick
    assert charts.ordinary([*quick, *[90.0] * 6]) == [*quick, *[90.0] * 6]  # that is how it is
    assert charts.ordinary([0.001, 0.002, 5.0]) == [0.001, 0.002, 5.0]  # too few to tell
    assert charts.ordinary([*[0.0001] * 30, 0.02], 0.01)[-1] == 0.02
    assert charts.ordinary([None]) == charts.ordinary([]) == []
    of = charts.scale([0.05])
    assert charts.beyond([0.05, None, 90.0, 0.01], of) == "M625 0h0.01"
    assert charts.beyond([0.05, 0.01], of) == ""


def test_the_chart_of_a_time_says_how_high_its_outliers_are() -> None:
    since = datetime(2026, 11, 27, 10, tzinfo=UTC)
    step = timedelta(minutes=1)
    points = [Point(since + step * n, 1, wait_p50=0.02, wait_p95=0.04) for n in range(60)]
    points[7] = Point(points[7].at, 1, wait_p50=0.02, wait_p95=250.0)
    trend = Trend(Period.HOUR, since, since + step * 60, step, points, points[0])
    wait, _ = trend_charts.all_of(trend)[1:]
    assert wait.labels[0] == "40 ms"
    assert wait.beyond is not None
    assert wait.beyond.name == "up to 4 min 10 s at 10:07"
    assert wait.summary == "Wait: median 20 ms, 95 % within 40 ms. Up to 4 min 10 s at 10:07."
    assert wait.hits[7].text == "10:07: p50 20 ms, p95 4 min 10 s"
    points[7] = points[8]
    assert trend_charts.all_of(trend)[1].beyond is None


def test_bars_stand_on_each_other() -> None:
    of = charts.scale([4.0])
    first, second = charts.stacked([[1.0, 0.0], [3.0, 2.0]], of)
    assert first == "M0 75h430v25h-430z"
    assert second == "M0 0h430v75h-430zM500 50h430v50h-430z"


def test_a_line_has_gaps_and_dots() -> None:
    of = charts.scale([4.0])
    assert charts.line([1, None, 2, 4], of) == "M125 75h0.01M625 50L875 0"


def test_the_user_s_frames_stay_and_others_fold() -> None:
    found = tracebacks.parts(SHOWN_TRACEBACK)
    assert [(part.ours, part.title) for part in found] == [
        (True, ""),
        (False, "2 frames of libraries"),
        (True, ""),
        (False, "1 frame of a library"),
        (True, ""),
    ]
    assert "\n".join(part.text for part in found) == SHOWN_TRACEBACK
    assert found[2].text.endswith("    )")


def test_nothing_folds_if_no_frame_is_the_user_s() -> None:
    only = SHOWN_TRACEBACK.replace("/srv/shop/", "/venv/lib/python3.12/site-packages/celery/")
    assert [part.ours for part in tracebacks.parts(only)] == [True]
    installed = SHOWN_TRACEBACK.replace("/srv/shop/", "/venv/lib/python3.12/site-packages/shop/")
    assert [part.ours for part in tracebacks.parts(installed)] == [True, False, True, False, True]
    assert tracebacks.parts("") == []


def attempt(number: int, at: float, end: float | None, outcome: Outcome | None, **more: Any) -> AttemptRecord:
    began = NOW + timedelta(seconds=at)
    ended = None if end is None else NOW + timedelta(seconds=end)
    values: dict[str, Any] = {
        "run": 0, "number": number, "at": began, "worker": "w", "wait": 1.0, "ended_at": ended, "outcome": outcome,
        "runtime": None if end is None else end - at, "error": None, "message": None, "traceback": None, "due_at": None,
    }  # fmt: skip
    return AttemptRecord(**(values | more))


def test_attempts_share_one_axis_of_time() -> None:
    history = [attempt(1, 1, 3, Outcome.RETRIED), attempt(2, 8, 10, Outcome.SUCCEEDED)]
    record = JobRecord("j", state=JobState.SUCCEEDED, enqueued_at=NOW, history=history)
    drawn = attempts.picture(record, NOW + timedelta(hours=1))
    assert drawn is not None
    assert drawn.length == "10 s"
    assert [each.bars for each in drawn.attempts] == [
        ((0.0, 100.0, "wait"), (100.0, 200.0, "warn")),
        ((700.0, 100.0, "wait"), (800.0, 200.0, "good")),
    ]


def test_an_attempt_without_an_end_runs_or_its_worker_died() -> None:
    history = [attempt(1, 1, None, None), attempt(1, 20, None, None)]
    record = JobRecord("j", state=JobState.RUNNING, enqueued_at=NOW, history=history)
    drawn = attempts.picture(record, NOW + timedelta(seconds=30))
    assert drawn is not None
    assert [(each.outcome, each.tone) for each in drawn.attempts] == [
        ("worker lost", "bad"),
        ("running", "info"),
    ]


def test_many_attempts_are_bounded_and_short_ones_are_seen() -> None:
    history = [attempt(n, n * 1000.0, n * 1000.0 + 0.001, Outcome.RETRIED) for n in range(1, 200)]
    drawn = attempts.picture(JobRecord("j", enqueued_at=NOW, history=history), NOW + timedelta(days=1))
    assert drawn is not None
    assert (len(drawn.attempts), drawn.left_out) == (attempts.MOST, 149)
    bars = [bar for each in drawn.attempts for bar in each.bars]
    assert all(
        width >= attempts.LEAST and left >= 0 and left + width <= attempts.WIDTH for left, width, _ in bars
    )
