"""How many messages RabbitMQ may send to a worker, and the consumers behind that."""

from __future__ import annotations

from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec

from flask_nightshift.brokers.rabbitmq import intake
from flask_nightshift.brokers.rabbitmq.credit import Change, change
from flask_nightshift.brokers.rabbitmq.intake import MOST_CONSUMERS, Intake


@pytest.mark.parametrize(
    ("held", "room", "want", "free", "expected"),
    [
        (0, 2, 2, 2, None),
        (2, 0, 2, 0, None),
        (0, 2, 32, 32, Change(False, 30)),  # the tasks are short
        (16, 12, 32, 16, None),  # near enough
        (2, 0, 32, 10, Change(False, 10)),  # other queues have taken the rest
        (2, 30, 2, 0, Change(True, 0)),  # they are slow now
        (1, 31, 2, 1, Change(True, 1)),
        (32, 0, 2, -30, Change(True, 0)),
        (20, 12, 15, -5, None),  # near enough
        (20, 12, 7, -13, Change(True, 0)),
        (1, 0, 2, 1, Change(False, 1)),  # what a cancelled consumer had is done
        (1, 0, 2, 0, None),
    ],
)
def test_the_consumers_change_only_if_they_are_far_off(
    held: int, room: int, want: int, free: int, expected: Change | None
) -> None:
    assert change(held=held, room=room, want=want, least=2, free=free) == expected


class Channel:
    """A channel of kombu's that notes what is sent; ``deliver`` plays the server."""

    def __init__(self) -> None:
        self.connection = object()
        self.prefetch = 0
        self.consumers: dict[str, tuple[str, int, Any]] = {}
        self.settled: list[int] = []
        self._next = 0

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool) -> None:
        self.prefetch = prefetch_count

    def basic_consume(self, queue: str, tag: str, *, callback: Any, nowait: bool, **options: Any) -> None:
        assert tag not in self.consumers
        self.consumers[tag] = queue, self.prefetch, callback

    def basic_cancel(self, tag: str, nowait: bool = False) -> None:
        del self.consumers[tag]

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.settled.append(tag)

    basic_reject = basic_ack

    def send_method(self, method: Any, form: str, values: Any) -> None:
        if method == spec.Basic.Qos:
            self.prefetch = values[1]
        else:
            assert method == spec.Basic.Cancel
            del self.consumers[values[0]]

    def counts(self, queue: str = "mail") -> list[int]:
        return [count for its, count, _ in self.consumers.values() if its == queue]

    def deliver(self, tag: str, number: int = 1) -> list[Any]:
        """Deliver by the consumer ``tag``; what its receiver got."""
        _, _, callback = self.consumers[tag]
        found = []
        for _ in range(number):
            self._next += 1
            found.append(SimpleNamespace(delivery_info={"delivery_tag": self._next, "consumer_tag": tag}))
            callback(found[-1])
        return found


@pytest.fixture
def got() -> list[Any]:
    return []


@pytest.fixture
def channel(got: list[Any]) -> Any:
    made: Any = Channel()
    made.intake = Intake(made, lambda queue: queue != "theirs")
    made.basic_qos(0, 2, False)
    for queue in ("mail", "theirs"):
        made.basic_consume(queue=queue, consumer_tag=queue, callback=got.append, nowait=True, no_ack=False)
    return made


def test_more_come_by_a_further_consumer_that_celery_does_not_see(channel: Any, got: list[Any]) -> None:
    channel.deliver("mail")
    channel.intake.adjust(children=2, window=32, held=1)

    assert channel.counts() == [2, 30]
    (further,) = set(channel.consumers) - {"mail", "theirs"}
    channel.deliver(further)
    assert [each.delivery_info["consumer_tag"] for each in got] == ["mail", "mail"]
    assert channel.counts("theirs") == [2]


def test_nothing_is_taken_ahead_from_a_queue_without_messages(channel: Any) -> None:
    channel.intake.adjust(children=2, window=32, held=0)
    assert channel.counts() == [2]


def test_a_worker_that_holds_too_much_gets_nothing_until_it_has_ended_most_of_it(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.deliver("mail", 2)
    channel.intake.adjust(children=2, window=32, held=2)
    (further,) = set(channel.consumers) - {"mail", "theirs"}
    messages = channel.deliver(further, 10)

    channel.intake.adjust(children=2, window=2, held=12)
    assert channel.counts() == [30], "more may be on its way to this one"
    monkeypatch.setattr(intake, "QUIET", -1.0)
    channel.intake.adjust(children=2, window=2, held=12)
    assert channel.counts() == []
    for each in messages:
        channel.basic_ack(each.delivery_info["delivery_tag"])
    channel.intake.adjust(children=2, window=32, held=1)  # one of the first two has ended elsewhere
    assert channel.counts() == []
    channel.basic_reject(1)
    channel.intake.adjust(children=2, window=32, held=1)
    assert channel.counts() == [1], "it is careful for a while"


def test_caution_ends_although_messages_keep_coming(channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(intake, "monotonic", lambda: now[0])
    channel.deliver("mail", 2)
    channel.intake.adjust(children=2, window=32, held=2)
    (further,) = set(channel.consumers) - {"mail", "theirs"}
    messages = channel.deliver(further, 10)
    channel.intake.adjust(children=2, window=2, held=12)  # too many, as one of them was delivered before
    began = now[0]
    while now[0] < began + 3 * intake.CAUTIOUS:
        now[0] += intake.QUIET / 2  # so the consumer is never quiet, and stays as it is
        channel.basic_ack(messages.pop(0).delivery_info["delivery_tag"])
        messages += channel.deliver(further)
        channel.intake.adjust(children=2, window=32, held=12)
        if not channel.intake._cautious:
            break
    assert began + intake.CAUTIOUS <= now[0] < began + 1.1 * intake.CAUTIOUS
    assert channel.counts() == [30]


def test_a_closed_queue_opens_again_when_the_worker_may_take_more(channel: Any) -> None:
    channel.deliver("mail", 2)
    channel.intake.close(["mail"])
    assert channel.counts() == []
    channel.basic_ack(1)
    channel.intake.adjust(children=2, window=1, held=1)
    assert channel.counts() == []
    channel.intake.adjust(children=2, window=2, held=1)
    assert channel.counts() == [1]


def test_celery_cancels_all_consumers_of_a_queue(channel: Any) -> None:
    channel.deliver("mail", 2)
    channel.intake.adjust(children=2, window=32, held=2)
    assert len(channel.counts()) == 2
    channel.basic_cancel("mail")
    channel.basic_cancel("theirs")
    assert not channel.consumers


def test_there_are_few_consumers_of_a_queue(channel: Any) -> None:
    for children in range(3, 30):
        channel.intake.adjust(children=children, window=children, held=0)
        assert sum(channel.counts()) == children
        assert len(channel.counts()) <= MOST_CONSUMERS


def test_the_consumers_of_a_paused_queue_end_when_nothing_is_on_its_way_to_them(
    channel: Any, got: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.deliver("mail", 2)
    channel.intake.adjust(children=2, window=6, held=2)
    (further,) = set(channel.consumers) - {"mail", "theirs"}
    channel.deliver(further)
    channel.intake.leave("mail")
    assert channel.counts() == [4], "the full one has ended"
    channel.intake.adjust(children=2, window=32, held=0)
    assert channel.counts() == [4], "it is not replaced"
    channel.deliver(further, 3)
    assert channel.counts() == [], "it was full"
    assert len(got) == 6, "what has come is the worker's"

    channel.basic_consume(queue="mail", consumer_tag="mail2", callback=got.append, nowait=True)
    channel.deliver("mail2")
    channel.intake.leave("mail2")
    assert channel.counts() == [2]
    later = monotonic() + intake.LEAVES_WITHIN
    monkeypatch.setattr(intake, "monotonic", lambda: later)
    monkeypatch.setattr(intake, "QUIET", 10.0)
    channel.intake.adjust(children=2, window=32, held=0)
    assert channel.counts() == []


def test_a_queue_whose_consumers_are_celerys_own_is_paused_at_once(channel: Any) -> None:
    channel.intake.leave("theirs")
    assert channel.counts("theirs") == []
