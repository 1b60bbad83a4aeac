"""Tasks as a type checker sees them. ``make lint`` checks this file with mypy and pyright; no test runs it.

Both report an unused ``type: ignore``, so each line in ``wrong`` must stay an error.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from flask_nightshift import Nightshift
from flask_nightshift.task.typed import JobResult

jobs = Nightshift()


@jobs.task
def bare(number: int) -> str:
    return str(number)


@jobs.task(name="mail.send", queue="mail", max_retries=3)
def with_options(user: int, *, subject: str = "Hello") -> dict[str, int]:
    return {subject: user}


@jobs.task(bind=True, name="mail.retry")
def bound(self: Any, user: int) -> float:
    raise self.retry(countdown=user)


@jobs.task
async def coroutine(number: int) -> bytes:
    return bytes(number)


@jobs.task(bind=True)
async def bound_coroutine(self: Any, number: int) -> int:
    return int(self.request.retries) + number


@jobs.task(ignore_result=True)
def nothing() -> None: ...


def plain(number: int) -> int:
    return number


direct = jobs.task(plain, name="plain")


def right() -> None:
    assert_type(bare(1), str)
    assert_type(bare.delay(1), JobResult[str])
    assert_type(bare.delay(number=1).get(timeout=3), str)
    assert_type(bare.delay(1).id, str)
    assert_type(with_options.delay(1, subject="Hi").get(), dict[str, int])
    assert_type(bound.delay(1).get(), float)
    assert_type(coroutine.delay(1).get(), bytes)
    with jobs.once("charge:1", object(), ttl=60) as first:
        assert_type(first, bool)
    assert_type(bound_coroutine.delay(1).get(), int)
    assert_type(nothing.delay().get(), None)
    assert_type(direct.delay(1).get(), int)
    assert_type(bare.apply_async((1,), countdown=10, queue="mail", priority=5).get(), str)
    assert_type(bare.apply_async(args=[1], expires=timedelta(hours=1), shadow="name"), JobResult[str])
    assert_type(bare.apply((1,)).get(), str)
    assert_type(bare.enqueue_many([(1,), {"number": 2}]), list[str])
    (bare.s(1) | with_options.s(subject="Hi") | nothing.si()).delay()
    print(bare.max_retries, bare.delay(1).traceback)


async def await_it() -> str:
    assert_type((await coroutine.adelay(1)).get(), bytes)
    assert_type(await bare.aenqueue_many([(1,)]), list[str])
    return (await bare.aapply_async((1,), countdown=10)).get()


def wrong() -> None:
    bare.delay("1")  # type: ignore[arg-type]
    bare.delay()  # type: ignore[call-arg]
    bare.delay(1, 2)  # type: ignore[call-arg]
    bare.delay(nummer=1)  # type: ignore[call-arg]
    bare("1")  # type: ignore[arg-type]
    bare.si("1")  # type: ignore[arg-type]
    with_options.delay(1, subject=2)  # type: ignore[arg-type]
    with_options.delay(1, "Hi")  # type: ignore[call-arg]
    bound.delay()  # type: ignore[call-arg]
    bound.delay("1")  # type: ignore[arg-type]
    coroutine.delay("1")  # type: ignore[arg-type]
    bound_coroutine.delay(1, 2)  # type: ignore[call-arg]
    nothing.delay(1)  # type: ignore[call-arg]
    direct.delay("1")  # type: ignore[arg-type]
    bare.apply_async(1)  # type: ignore[arg-type]
    bare.apply_async((1,), countdown="10")  # type: ignore[arg-type]
    wrong: int = bare.delay(1).get()  # type: ignore[assignment]
    print(wrong)
