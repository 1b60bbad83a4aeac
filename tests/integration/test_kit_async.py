"""The test kit with coroutines: in plain tests, in tests that are coroutines themselves, and with request contexts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
from flask import Flask, current_app, g, has_request_context, request, url_for
from flask_babel import Babel, format_decimal, get_locale

from flask_nightshift import ConfigurationError, Nightshift
from flask_nightshift.testing import Jobs, in_memory

jobs = Nightshift()
seen: list[Any] = []


@jobs.task(name="kit_async.work", bind=True, max_retries=1)
async def work(self: Any, word: str) -> None:
    await asyncio.sleep(0)
    seen.append((word, self.request.retries, current_app.name, bool(self.request.id)))
    if word == "fails":
        raise ConnectionError(word)
    if word == "parent":
        await work.adelay("child")


@jobs.task(name="kit_async.slow", soft_time_limit=0.1, time_limit=5, max_retries=0)
async def slow() -> None:
    try:
        await asyncio.sleep(20)
    finally:
        seen.append("cleaned up")


class Hooked(celery.Task):
    abstract = True

    async def on_failure(self, exc: BaseException, *rest: Any) -> None:
        await asyncio.sleep(0)
        seen.append(f"heard {exc!r} in {current_app.name}")


@jobs.task(name="kit_async.hooked", base=Hooked, max_retries=0)
async def hooked() -> None:
    raise ValueError("hooked")


@jobs.task(name="kit_async.request", request_context=True, max_retries=0)
def in_request() -> None:
    g.mine = True
    seen.append((url_for("page", _external=True), request.path, str(get_locale()), format_decimal(1.5)))


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask("kit_async", instance_path=str(tmp_path))
    app.config |= {"TESTING": True, "SERVER_NAME": "shop.example", "PREFERRED_URL_SCHEME": "https"}
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["de", "en"]) or "de")
    app.add_url_rule("/page", "page", lambda: "")

    @app.teardown_request
    def teardown(exc: BaseException | None) -> None:
        seen.append(f"teardown {exc!r}")

    jobs.init_app(app)
    return app


@pytest.fixture
def kit(app: Flask) -> Iterator[Jobs]:
    seen.clear()
    with app.app_context(), in_memory(app) as made:
        yield made


def look(kit: Jobs) -> None:
    """A job, its child, a failure with its retry, a soft limit."""
    work.delay("parent")
    work.delay("fails")
    slow.delay()
    kit.drain(delayed=True)
    assert seen == [
        ("parent", 0, "kit_async", True),
        ("fails", 0, "kit_async", True),
        "cleaned up",
        ("child", 0, "kit_async", True),
        ("fails", 1, "kit_async", True),
    ]
    dead = {each.task: each.error for each in kit.dead_letters()}
    assert "SoftTimeLimitExceeded" in str(dead["kit_async.slow"])
    assert "ConnectionError" in str(dead["kit_async.work"])


def test_coroutines_run_in_a_plain_test(kit: Jobs) -> None:
    look(kit)


def test_coroutines_run_in_a_test_with_a_loop_of_its_own(kit: Jobs) -> None:
    async def test() -> None:
        await asyncio.sleep(0)
        await work.adelay("parent")
        kit.assert_enqueued(work, ("parent",))
        kit.run_next()
        kit.assert_enqueued(work, ("child",))
        seen.clear()
        kit.drain()
        seen.clear()
        look(kit)
        assert (await work("called")) is None
        assert seen[-1][0] == "called"

    asyncio.run(test())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_coroutines_run_in_a_test_that_a_plugin_runs(kit: Jobs) -> None:
    look(kit)


def test_a_plain_loop_and_its_signal_handlers_are_as_before(app: Flask) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with app.app_context(), in_memory(app) as kit:
        work.delay("once")
        kit.drain()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_hooks_may_be_coroutines(kit: Jobs) -> None:
    hooked.delay()
    kit.drain()
    assert seen == ["heard ValueError('hooked') in kit_async"]


def test_a_request_context_in_the_kit_and_in_eager_calls(kit: Jobs) -> None:
    told = ("https://shop.example/page", "/", "de", "1,5")
    in_request.delay()
    kit.drain()
    assert seen == [told, "teardown None"]
    seen.clear()
    in_request.apply()
    in_request()
    assert seen == [told, "teardown None"] * 2


def test_in_a_request_the_request_s_context_is_used(app: Flask, kit: Jobs) -> None:
    with app.test_request_context("/there", headers={"Accept-Language": "en"}):
        seen.clear()
        in_request.apply()
        assert seen == [("https://shop.example/page", "/there", "en", "1.5")]


def test_without_server_name_the_error_names_the_way_out(app: Flask, kit: Jobs) -> None:
    app.config["SERVER_NAME"] = None
    with pytest.raises(
        ConfigurationError, match=r"SERVER_NAME.*kit_async\.request runs with request_context=True"
    ):
        in_request()
    in_request.delay()
    (ran,) = kit.drain()
    assert "SERVER_NAME" in str(ran.error)


def test_a_request_context_may_be_the_default_of_all_tasks(tmp_path: Path) -> None:
    app = Flask("kit_default", instance_path=str(tmp_path))
    app.config |= {"SERVER_NAME": "all.example", "NIGHTSHIFT_TASK_DEFAULTS": {"request_context": True}}
    mine = Nightshift(app)
    told: list[Any] = []

    @mine.task(name="kit_default.with")
    def with_it() -> None:
        told.append(request.host)

    @mine.task(name="kit_default.without", request_context=False)
    def without() -> None:
        told.append(has_request_context())

    with app.app_context(), in_memory(app) as kit:
        with_it.delay()
        without.delay()
        kit.drain()
    assert told == ["all.example", False]
    with pytest.raises(ConfigurationError, match=r"request_context of the task 'kit_default\.wrong' = 'yes'"):
        mine.task(name="kit_default.wrong", request_context="yes")(lambda: None)
    for option in ("idempotency_key", "unique_key"):

        async def key() -> str:
            return "never awaited"

        with pytest.raises(ConfigurationError, match=rf"{option} of the task .*no coroutine"):
            mine.task(name="kit_default.wrong", unique="until_done", **{option: key})(lambda: None)
