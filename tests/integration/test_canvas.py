"""Canvas without options about results works as Celery documents it, on both brokers with their own result backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import TimeoutError as ResultTimeout
from flask import Flask

from canvasapp import (
    add,
    after,
    create_app,
    die,
    double,
    eta,
    fail,
    flaky,
    keep,
    note_body,
    note_error,
    replaced,
    replaced_by_group,
    silent,
)
from flask_nightshift import Nightshift
from system import System, running

PATIENCE = 60


@contextmanager
def canvas_system(folder: Path, broker_url: str, **settings: str) -> Iterator[System]:
    """A worker of ``canvasapp``, and its app current here."""
    with running(folder, broker_url, FLASK_APP="canvasapp", **settings) as system:
        system.worker("--concurrency", "4")
        app = create_app(
            INSTANCE=system.env["INSTANCE"],
            NIGHTSHIFT_BROKER_URL=broker_url,
            NIGHTSHIFT_DATABASE_URL=settings.get("NIGHTSHIFT_DATABASE_URL"),
        )
        with app.app_context():
            yield system


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    broker = request.getfixturevalue(request.param)
    with canvas_system(tmp_path_factory.mktemp("canvas"), broker.fresh_url()) as system:
        yield system


def results(asked: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """What the canvases gave, all started before the first is waited for, and what they should have."""
    started = [canvas.apply_async() for canvas, _ in asked]
    return [result.get(timeout=PATIENCE) for result in started], [wanted for _, wanted in asked]


def test_chains_groups_and_chords_need_no_option(system: System) -> None:
    given, wanted = results(
        [
            (chain(add.s(1, 1), add.s(2), add.s(3)), 7),
            (chain(double.s(4)), 8),
            (group(double.s(n) for n in range(5)), [0, 2, 4, 6, 8]),
            (group([add.s(2, 2)]), [4]),
            (chord([add.s(n, n) for n in range(10)], add.s()), 90),
            (chord([flaky.s(1), add.s(2)], add.s()), 3),
            (chain(add.s(1), group(add.s(n) for n in range(3)), add.s(10)), 16),
            (chain(add.s(1), chord([add.s(n) for n in range(3)], add.s()), add.s(100)), 106),
            (group(chain(add.s(n), double.s()) for n in range(3)), [0, 2, 4]),
            (chord([chain(add.s(n), double.s()) for n in range(3)], add.s()), 6),
            (chord([chord([add.s(1), add.s(2)], add.s()), add.s(3)], add.s()), 6),
            (chord([group(add.s(1), add.s(2)), add.s(3)], add.s()), 6),
            (chord([add.s(1), add.s(2)], chain(add.s(), double.s())), 6),
            (chord([add.s(1), add.s(2)], group(add.s(1), add.s(2))), [4, 5]),
        ]
    )
    assert given == wanted


def test_the_delay_of_a_canvas(system: System) -> None:
    """It delays the header, whose jobs see what time they waited for, as does one that is called by itself."""
    begun = datetime.now(UTC)
    etas = (group(eta.s(), eta.s()) | keep.s()).apply_async(countdown=1)
    times = [
        *etas.get(timeout=PATIENCE),
        eta.apply_async(countdown=1, ignore_result=False).get(timeout=PATIENCE),
    ]
    assert all(datetime.fromisoformat(time) >= begun + timedelta(seconds=1) for time in times)


def test_map_starmap_and_chunks_give_their_results(system: System) -> None:
    given, wanted = results(
        [
            (double.map(range(4)), [0, 2, 4, 6]),
            (add.starmap([(1, 2), (3, 4)]), [3, 7]),
            (add.chunks([(n, n) for n in range(4)], 2), [[0, 2], [4, 6]]),
            (add.chunks([(n, n) for n in range(4)], 2).group(), [[0, 2], [4, 6]]),
            (add.chunks([(n, n) for n in range(4)], 2).group() | add.s(), 12),
        ]
    )
    assert given == wanted


def test_a_job_that_replaces_itself(system: System) -> None:
    given, wanted = results(
        [
            (group(replaced.s(1), replaced.s(2)), [2, 3]),
            (chain(add.s(1), replaced.s(), double.s()), 4),
            (chord([replaced.s(1), add.s(1)], add.s()), 3),
            (chord([replaced_by_group.s([1, 2]), add.s(1)], add.s()), 7),
            (chain(replaced_by_group.s([1, 2]), add.s()), 6),
        ]
    )
    assert given == wanted
    assert (
        replaced.apply_async((3,), ignore_result=False).get(timeout=PATIENCE) == 4
    )  # it hands on what it was asked


def test_a_chord_waits_for_a_header_that_still_runs(system: System) -> None:
    late = system.folder / "late"
    body = add.s().set(link_error=[note_error.s()])
    result = chord([after.s(str(late), 1), add.s(2)], body).apply_async()
    with pytest.raises(ResultTimeout):  # polled, or counted, several times
        result.get(timeout=3)
    late.touch()
    assert result.get(timeout=PATIENCE) == 3
    assert system.events("errback") == []
    assert not system.dead()


@pytest.mark.parametrize("unencodable_header", [fail, die])
def test_the_error_of_a_header_ends_the_chord_once(system: System, unencodable_header: Any) -> None:
    before = system.events("errback")
    body = note_body.si(unencodable_header.name, "ran").set(link_error=[note_error.s()])
    result = chord([add.s(1), unencodable_header.s()], body).apply_async()
    with pytest.raises(Exception, match=r"on purpose|exitcode 9|WorkerLost"):
        result.get(timeout=PATIENCE)
    system.until(lambda: len(system.events("errback")) > len(before), PATIENCE, "no errback ran")
    assert chord([add.s(1)], add.s()).apply_async().get(timeout=PATIENCE) == 1  # time for another poll
    assert system.events("errback")[len(before) :] == ["ChordError"]
    assert system.events(unencodable_header.name) == []


def test_the_error_of_a_step_ends_the_chain(system: System) -> None:
    for canvas in (
        chain(add.s(1), fail.s(), add.s(2)),
        chain(fail.s(), chord([add.s(1)], add.s()), add.s(3)),
    ):
        with pytest.raises(Exception, match="on purpose"):
            canvas.apply_async().get(timeout=PATIENCE)


def test_result_options_take_effect(system: System) -> None:
    """Also in a canvas; the chord comes to its end all the same."""
    pair = group(silent.s(1), add.s(2).set(ignore_result=True), add.s(3)).apply_async()
    assert pair.results[2].get(timeout=PATIENCE) == 3
    assert chord([silent.s(1), silent.s(2)], add.s()).apply_async().get(timeout=PATIENCE) == 3
    assert [result.state for result in pair.results[:2]] == ["PENDING", "PENDING"]
    assert add.delay(1, 2).get(timeout=PATIENCE) is None
    assert silent.apply_async((5,), ignore_result=False).get(timeout=PATIENCE) == 5


def test_tasks_that_the_producer_knows_by_name_only(system: System) -> None:
    """It leaves open what becomes of the results, and the worker decides."""
    elsewhere = Flask("elsewhere", instance_path=system.env["INSTANCE"])
    elsewhere.config["NIGHTSHIFT_BROKER_URL"] = system.env["NIGHTSHIFT_BROKER_URL"]
    celery = Nightshift(elsewhere).celery

    def add(*numbers: int) -> Any:
        return celery.signature("canvas.add", args=numbers)

    with elsewhere.app_context():
        given, wanted = results(
            [
                (chord([add(n, n) for n in range(3)], add()), 6),
                (chain(add(1, 1), add(2)), 4),
                (group(add(1), add(2)), [1, 2]),
            ]
        )
    assert given == wanted


@pytest.mark.rabbitmq
@pytest.mark.postgres
def test_results_in_postgresql(rabbitmq: Any, postgres: Any, tmp_path: Path) -> None:
    """Where they are with RabbitMQ, if the history is there."""
    url = postgres.fresh_url()
    with canvas_system(tmp_path, rabbitmq.fresh_url(), NIGHTSHIFT_DATABASE_URL=url):
        given, wanted = results(
            [
                (chain(add.s(1), group(add.s(n) for n in range(3)), add.s(10)), 16),
                (chord([replaced_by_group.s([1, 2]), add.s(1)], add.s()), 7),
                (add.chunks([(n, n) for n in range(4)], 2).group(), [[0, 2], [4, 6]]),
            ]
        )
        assert given == wanted
        with pytest.raises(Exception, match="on purpose"):
            chord([add.s(1), fail.s()], add.s()).apply_async().get(timeout=PATIENCE)
