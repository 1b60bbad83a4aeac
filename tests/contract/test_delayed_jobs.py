"""Single delayed jobs, where the broker can list them: found around their times or anywhere, started, taken out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker_harness import Harness, a_job
from flask_nightshift.brokers.base import DelayedJobs
from flask_nightshift.domain.job import utcnow

ODD = ("jöb-1", 'say "hi"', "back\\slash", "*", "job-日本", "j[1-2]?")


@pytest.fixture
def hold(harness: Harness) -> DelayedJobs:
    found = harness.broker.delayed_jobs()
    if found is None:
        pytest.skip("the broker does not show delayed jobs")
    return found


def test_a_job_is_found_around_its_time_or_anywhere_whatever_its_id(
    harness: Harness, hold: DelayedJobs
) -> None:
    due = utcnow() + timedelta(hours=1)
    for name in ODD:
        harness.broker.publish(a_job(id=name), harness.queue, due=due)
    harness.broker.publish(a_job(id="another", argsrepr=f"{ODD}"), harness.queue, due=due)
    for wanted in (dict.fromkeys(ODD, due), dict.fromkeys(ODD), dict.fromkeys([*ODD, "nobody"])):
        assert {job.job_id for job in hold.find(harness.queue, wanted)} == set(ODD)
    for name in ODD:
        assert [job.job_id for job in hold.find(harness.queue, {name: due})] == [name]
        assert [job.job_id for job in hold.find(harness.queue, {name: None})] == [name]
    assert hold.find("elsewhere", dict.fromkeys(ODD, due)) == []
    assert {job.job_id for job in hold.take(harness.queue, dict.fromkeys(ODD, due))} == set(ODD)
    assert [job.job_id for job in hold.soonest(harness.queue, 10)] == ["another"]


def test_jobs_that_run_now_come_first_in_the_order_of_their_times(
    harness: Harness, hold: DelayedJobs
) -> None:
    harness.broker.publish(a_job(id="ready"), harness.queue)
    now = utcnow()
    dues = {f"job-{hours}": now + timedelta(hours=hours) for hours in (3, 1, 2, 4)}
    for name, due in dues.items():
        harness.broker.publish(a_job(id=name), harness.queue, due=due)
    wanted = {"job-3": dues["job-3"], "job-1": None, "job-2": dues["job-2"], "nobody": None}
    assert sorted(hold.run_now(harness.queue, wanted)) == ["job-1", "job-2", "job-3"]
    assert hold.run_now(harness.queue, wanted) == []
    assert [job.job_id for job in hold.soonest(harness.queue, 10)] == ["job-4"]
    with harness.consumer() as receive:
        messages = [receive() for _ in range(4)]
        assert [message.headers["id"] for message in messages] == ["job-1", "job-2", "job-3", "ready"]
        assert not any(message.headers.get("eta") for message in messages)
        for message in messages:
            message.ack()


def test_many_jobs_of_one_moment_are_all_found(
    harness: Harness, hold: DelayedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one step of the search looks at."""
    monkeypatch.setattr("flask_nightshift.brokers.redis.transport.searching.PORTION", 3)
    monkeypatch.setattr("flask_nightshift.brokers.redis.transport.queues.MOST_MOVED", 4)
    due = utcnow() + timedelta(hours=1)
    names = [f"job-{number}" for number in range(20)]
    for number, name in enumerate(names):
        harness.broker.publish(a_job(id=name), harness.queue, due=due + timedelta(seconds=10 * (number % 3)))
    moved = hold.run_now(harness.queue, dict.fromkeys(names, due))
    assert {*moved} >= {*names[::3]}
    left = [name for name in names if name not in moved]
    assert len(left) == (0 if harness.name == "memory" else 13), "they are due at other times"
    assert sorted(hold.run_now(harness.queue, dict.fromkeys(left))) == sorted(left)
    (depth,) = harness.broker.depths([harness.queue])
    assert (depth.ready, depth.delayed) == (20, 0)


def test_delayed_jobs_are_listed_page_by_page_also_those_of_one_moment(
    harness: Harness, hold: DelayedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_nightshift.brokers.redis.transport.searching.PORTION", 3)
    now = utcnow()
    dues = {f"{number:02}": now + timedelta(hours=(number * 7) % 3 + 1) for number in range(20)}
    for name in sorted(
        dues, key=lambda name: name[::-1]
    ):  # in an order that is neither theirs nor that of their ids
        harness.broker.publish(a_job(id=name), harness.queue, due=dues[name])
    found: list[str] = []
    after = None
    while page := hold.following(harness.queue, 4, after):
        found += [job.job_id for job in page]
        last = page[-1]
        assert last.due is not None
        after = last.due, last.job_id
        if len(found) == 8:
            hold.take(harness.queue, {found[-1]: None})  # the place stays although its job goes
    assert found == sorted(dues, key=lambda name: (dues[name], name))
    assert hold.following("elsewhere", 4, None) == []
