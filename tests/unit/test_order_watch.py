"""A worker's watch of what is ordered for all workers."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from flask_nightshift.brokers.orders import UNKNOWN
from flask_nightshift.domain.orders import Ordered
from flask_nightshift.errors import DatabaseUnavailable
from flask_nightshift.services import Services
from flask_nightshift.worker.orders import OrderWatch
from servers import wait_for


class Book:
    """Orders by their number."""

    def __init__(self) -> None:
        self.number = 0
        self.away = False
        self.asked: list[int] = []

    def read(self, since: int) -> Ordered | None:
        self.asked.append(since)
        if self.away:
            raise DatabaseUnavailable("away")
        return None if since == self.number else Ordered(number=self.number, pauses={})


class App:
    def __init__(self) -> None:
        self.orders = Book()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def watch(book: Book) -> OrderWatch:
    app: Any = App()
    app.orders = book
    return OrderWatch(cast("Services", app))


def test_subscribers_hear_of_each_change_once(watch: OrderWatch, book: Book) -> None:
    heard: list[int] = []
    watch.subscribe(lambda ordered: heard.append(ordered.number))
    for number in (0, 0, 5, 5, 0):  # 0 again: the broker has lost its data
        book.number = number
        watch.turn()
    assert heard == [0, 5, 0]
    assert book.asked == [UNKNOWN, 0, 0, 5, 5]


def test_a_later_subscriber_hears_what_is_known(watch: OrderWatch, book: Book) -> None:
    book.number = 7
    watch.turn()
    heard: list[int] = []

    def hear(ordered: Ordered) -> None:
        heard.append(ordered.number)

    watch.subscribe(hear)
    assert heard == [7]
    watch.unsubscribe(hear)
    book.number = 8
    watch.turn()
    assert heard == [7]


def test_a_worker_that_cannot_ask_goes_on_with_what_it_knows(
    watch: OrderWatch, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.away = True
    with caplog.at_level(logging.WARNING):
        assert watch.read_now() is None
    assert [record.message for record in caplog.records] == ["orders.unknown"]
    assert "consumes all" in caplog.records[0].__dict__["meanwhile"]
    book.away, book.number = False, 3
    assert watch.read_now() == Ordered(number=3, pauses={})
    book.away = True
    assert watch.read_now() == Ordered(number=3, pauses={})


def test_a_worker_that_the_broker_tells_in_passing_asks_only_if_there_is_something_new(
    watch: OrderWatch, book: Book
) -> None:
    told: list[int | None] = [None, 0, 0, 4, 4, 4]
    watch.glance = lambda: told.pop(0) if told else 4
    for _ in range(3):
        watch.turn()
    assert book.asked == [UNKNOWN]
    book.number = 4
    for _ in range(3):
        watch.turn()
    assert book.asked == [UNKNOWN, 0]
    book.number = 5
    watch.hurry()  # a broadcast is sooner
    wait_for(lambda: watch.known == Ordered(number=5, pauses={}), 5, "it does not ask")
    watch.stop()
