"""The relay publishes what stayed in the outbox: each row, and nothing that is not committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from broker_harness import a_job
from flask_nightshift import Nightshift
from flask_nightshift.dead_letters import Filters, list_letters
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message.copies import copy_of
from flask_nightshift.observe import doctor, health, metrics
from flask_nightshift.operations import recovery
from flask_nightshift.outbox import claims, relay, sightings, writing
from flask_nightshift.outbox.relay import Relay
from flask_nightshift.outbox.rows import Row, row_of
from flask_nightshift.services import Services, current
from flask_nightshift.store.tables import outbox
from servers import wait_for

WAIT = 0.05


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks are close to each other."""
    monkeypatch.setattr(sightings, "WAIT", WAIT)
    monkeypatch.setattr(relay, "LOOK_EVERY", WAIT)


@pytest.fixture(params=["valkey", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def services(server: Any, database_url: str, tmp_path: Path, quick: None) -> Iterator[Services]:
    app = Flask("relays", instance_path=str(tmp_path))
    app.config.update(NIGHTSHIFT_BROKER_URL=server.fresh_url(), NIGHTSHIFT_DATABASE_URL=database_url)
    Nightshift(app)
    with app.app_context():
        made = current()
        made.store.migrate()
        yield made
        made.close()


def rows(count: int, queue: str = "celery", **changes: Any) -> list[Row]:
    return [
        row_of(a_job(), task="mail.send", queue=queue, due=None)._replace(**changes) for _ in range(count)
    ]


def commit(services: Services, *some: Row) -> list[str]:
    """The rows, committed by a process that died; returns their job ids."""
    with services.store.begin() as connection:
        writing.write(connection, some)
    return [row.job_id for row in some]


def left(services: Services) -> list[Any]:
    with services.store.read() as connection:
        return list(connection.execute(select(outbox).order_by(outbox.c.created_at)))


def ready(services: Services, queue: str = "celery") -> int:
    return services.broker.depths([queue])[0].ready


def turn_until(one: Relay, done: Callable[[], object], turns: int = 200) -> None:
    for _ in range(turns):
        rest = one.turn()
        if done():
            return
        time.sleep(min(rest, WAIT))
    raise AssertionError("the relay does not come to an end")


def messages(services: Services, queue: str = "celery") -> list[Any]:
    """Take all messages from a queue."""
    found = []
    with services.celery.connection_for_read() as connection, connection.channel() as channel:
        bound = services.broker.queue(queue)(channel)
        while (message := bound.get(no_ack=False)) is not None:
            message.ack()
            found.append(message)
    return found


def test_rows_are_published_with_a_number_of_their_own_and_deleted(services: Services) -> None:
    ids = commit(services, *rows(3), *rows(2, "mail"))
    (one,) = services.relays("w")

    turn_until(one, lambda: not left(services))

    found = [*messages(services), *messages(services, "mail")]
    assert [message.headers["id"] for message in found] == ids
    # 3 and more on a RabbitMQ that declares its first queues for longer than a publish may take
    assert min(copy_of(message.headers).number for message in found) >= 2  # type: ignore[union-attr]


def test_the_first_look_takes_nothing(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "WAIT", 5.0)
    monkeypatch.setattr(relay, "LOOK_EVERY", 5.0)
    commit(services, *rows(1))
    (one,) = services.relays("w")

    assert 4 < one.turn() <= 6.1
    assert 4 < one.turn() <= 6.1
    assert ready(services) == 0


def test_a_row_that_commits_late_is_not_passed_over(services: Services) -> None:
    if services.store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    (late,) = rows(1, created_at=utcnow() - timedelta(hours=1))
    (one,) = services.relays("w")
    with services.store.engine.connect() as connection:
        writing.write(connection, [late])
        commit(services, *rows(5))
        turn_until(one, lambda: ready(services) == 5)
        assert not left(services)
        connection.commit()
    turn_until(one, lambda: not left(services))
    assert messages(services)[-1].headers["id"] == late.job_id


def test_relays_share_a_backlog_and_publish_each_row_once(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [job_id for _ in range(4) for job_id in commit(services, *rows(600))]
    several = [one for name in "abc" for one in services.relays(name)]
    for one in several:
        one.start()
    try:
        wait_for(lambda: not left(services), 60, "rows are left")
    finally:
        for one in several:
            one.stop()
    assert ready(services) == len(ids)
    assert sorted(message.headers["id"] for message in messages(services)) == sorted(ids)
    assert not [record for record in caplog.records if "job.duplicate" in record.getMessage()]


def test_what_a_dead_relay_had_claimed_is_published_by_another(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(services, *rows(3))
    seen = claims.look(services.store, 10)
    assert len(claims.claim(services.store, seen, "dead")) == 3
    assert claims.claim(services.store, seen, "other") == [], "they are claimed"
    (one,) = services.relays("w")
    for _ in range(3):
        one.turn()
    assert ready(services) == 0

    monkeypatch.setattr(sightings, "CLAIM_WAIT", WAIT)
    turn_until(one, lambda: not left(services))
    assert {copy_of(message.headers).number for message in messages(services)} == {3}  # type: ignore[union-attr]


def test_while_the_broker_is_away_rows_stay_and_no_claim_is_left(services: Services, server: Any) -> None:
    commit(services, *rows(3))
    (one,) = services.relays("w")
    server.stop()
    with pytest.raises(BrokerUnavailable):
        turn_until(one, lambda: False, 20)
    assert [row.claimed_by for row in left(services)] == [None] * 3

    server.ensure()
    turn_until(one, lambda: not left(services))
    assert ready(services) == 3


def test_a_queue_that_refuses_holds_up_no_other(services: Services, server: Any) -> None:
    refused = commit(services, *rows(3, "odd"))
    fine = commit(services, *rows(3))
    _make_odd(services, "odd")
    (one,) = services.relays("w")

    turn_until(one, lambda: len(left(services)) == 3)

    assert [message.headers["id"] for message in messages(services)] == fine
    assert {row.job_id for row in left(services)} == set(refused)


def _make_odd(services: Services, queue: str) -> None:
    """Let something else have the queue's name on the server."""
    with services.celery.connection_for_write() as connection, connection.channel() as channel:
        if hasattr(channel, "client"):
            channel.client.set(queue, "not a list")
        else:
            channel.queue_declare(queue, durable=False, auto_delete=False)


def test_content_that_no_broker_takes_becomes_a_dead_letter(services: Services) -> None:
    (unfit,) = rows(1)
    damaged = rows(1)[0]._replace(message=b"\xc1 not ours")
    fine = commit(services, *rows(4), damaged, *rows(4))
    fine.remove(damaged.job_id)
    (one,) = services.relays("w")
    publish_many = services.broker.publish_many

    def refusing(envelopes: Any, queue: str, **options: Any) -> Any:
        if any(each.headers["id"] == unfit.job_id for each in envelopes):
            raise TypeError("{1, 2} has no place in a message")
        return publish_many(envelopes, queue, **options)

    commit(services, unfit)
    services.broker.publish_many = refusing  # type: ignore[method-assign]
    turn_until(one, lambda: not left(services))

    assert sorted(message.headers["id"] for message in messages(services)) == sorted(fine)
    letters = {found.letter.job_id: found.letter for found in list_letters(services.store, Filters())}
    assert letters.keys() == {damaged.job_id, unfit.job_id}
    assert "no place in a message" in str(letters[unfit.job_id].failure)


def test_a_damaged_row_of_a_durable_job_is_closed_by_its_dead_letter(services: Services) -> None:
    damaged = rows(2, message=b"\xc1 not ours", durable=1)
    commit(services, damaged[0], damaged[1]._replace(run=2))
    (one,) = services.relays("w")
    turn_until(one, lambda: len(list_letters(services.store, Filters())) == 2)
    assert {row.state for row in left(services)} == {"dead"}
    assert recovery.recover(services) == (0, 0, 0)


def test_an_unknown_format_is_left_alone_and_named_once(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    newer = rows(3, format=99)
    commit(services, *newer)
    fine = commit(services, *rows(2))
    (one,) = services.relays("w")

    turn_until(one, lambda: len(left(services)) == 3)
    for _ in range(5):
        turn_until(one, lambda: True)
    with caplog.at_level(logging.WARNING):
        turn_until(one, lambda: any(r.getMessage() == "outbox.unknown_format" for r in caplog.records))
        caplog.clear()
        for _ in range(5):
            one._look()
    assert not caplog.records
    assert [message.headers["id"] for message in messages(services)] == fine
    assert [(row.copy, row.claimed_by) for row in left(services)] == [(1, None)] * 3
    findings = [found for found in doctor.examine(services) if found.check == "outbox"]
    assert [found.level for found in findings] == ["warning"]


def test_metrics_health_and_doctor_say_what_waits(services: Services) -> None:
    assert health.check(services, ["outbox"]).parts["outbox"].detail == "no job waits"
    commit(services, *rows(3, created_at=utcnow() - timedelta(seconds=90)))

    exposed = metrics.exposition(services)[0].decode()
    assert "nightshift_outbox_rows 3.0" in exposed
    assert "nightshift_outbox_oldest_seconds 9" in exposed
    part = health.check(services, ["outbox"]).parts["outbox"]
    assert part.ok
    assert part.detail.startswith("3 jobs wait, the oldest for 9")
    (finding,) = [found for found in doctor.examine(services) if found.check == "outbox"]
    assert finding.message.startswith("3 jobs wait in the outbox")


def test_a_delayed_row_is_delayed_in_the_broker(services: Services) -> None:
    (later,) = rows(1, due_at=utcnow() + timedelta(hours=1))
    commit(services, later, *rows(1, due_at=utcnow() - timedelta(hours=1)))
    (one,) = services.relays("w")
    turn_until(one, lambda: not left(services))
    assert ready(services) == 1


def test_the_apps_database_has_a_relay_of_its_own(valkey: Any, tmp_path: Path, quick: None) -> None:
    app = Flask("relays", instance_path=str(tmp_path))
    app.config.update(
        NIGHTSHIFT_BROKER_URL=valkey.fresh_url(),
        NIGHTSHIFT_DATABASE_URL=f"sqlite:///{tmp_path}/history.sqlite3",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/app.sqlite3",
    )
    Nightshift(app)
    with app.app_context():
        made = current()
        history, own = made.outboxes
        for store in made.outboxes:
            store.migrate()
        (damaged,) = rows(1, message=b"\xc1")
        with own.begin() as connection:
            writing.write(connection, [*rows(3), damaged])
        assert claims.backlog_of(made.outboxes).rows == 4

        _, relay_of_app = made.relays("w")
        turn_until(relay_of_app, lambda: not claims.backlog(own).rows)

        assert ready(made) == 3
        (letter,) = list_letters(history, Filters())
        assert letter.letter.job_id == damaged.job_id
        made.close()
