"""Types of a task for type checkers: ``@jobs.task`` keeps the function's parameters and its result.

Celery ships no types. These protocols describe a ``TaskProxy`` and an ``AsyncResult``; nothing here runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class JobResult(Protocol[R_co]):
    """Celery's ``AsyncResult`` of a job whose task returns ``R_co``; all other attributes are ``Any``."""

    @property
    def id(self) -> str:
        """The job id."""

    @property
    def state(self) -> str:
        """Celery's state of the job, such as ``PENDING`` or ``SUCCESS``."""

    def get(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> R_co:
        """Wait at most ``timeout`` seconds for the result, which is stored only with ``ignore_result=False``."""

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5, **options: Any
    ) -> R_co:
        """``get()`` for coroutines: the event loop goes on meanwhile."""

    def ready(self) -> bool:
        """Whether the job has ended."""

    def successful(self) -> bool:
        """Whether the job has succeeded."""

    def failed(self) -> bool:
        """Whether the job has failed."""

    def __getattr__(self, name: str) -> Any: ...


class Task(Protocol[P, R_co]):
    """A declared task: ``P`` are its parameters, ``R_co`` is what it returns; other attributes are ``Any``."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the body in this process, in the app context."""

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[R_co]:
        """Enqueue a job. Raises ``BrokerUnavailable`` within 3 s, and ``DuplicateJob`` for some unique tasks."""

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        *,
        countdown: float | None = None,
        durable: bool | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | timedelta | None = None,
        headers: Mapping[str, Any] | None = None,
        ignore_result: bool | None = None,
        link: Any = None,
        link_error: Any = None,
        on_duplicate: Literal["skip", "raise", "replace"] | None = None,
        on_expired: Literal["dead", "drop"] | None = None,
        priority: int | None = None,
        queue: Any = None,
        serializer: str | None = None,
        soft_time_limit: float | None = None,
        tags: Collection[str] | None = None,
        time_limit: float | None = None,
        unique: Literal["until_started", "until_done", False] | None = None,
        unique_for: float | None = None,
        unique_key: str | int | None = None,
        **options: Any,
    ) -> JobResult[R_co]:
        """Enqueue a job with options. Type checkers do not compare ``args`` and ``kwargs`` with ``P``."""

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> JobResult[R_co]:
        """Run the body in this process, as a worker would."""

    def enqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """Enqueue one job per item, a tuple or a dict of arguments; returns the job ids in order."""

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[R_co]:
        """``delay()`` for coroutines: the event loop goes on meanwhile."""

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        countdown: float | None = None,
        durable: bool | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | timedelta | None = None,
        headers: Mapping[str, Any] | None = None,
        ignore_result: bool | None = None,
        link: Any = None,
        link_error: Any = None,
        on_duplicate: Literal["skip", "raise", "replace"] | None = None,
        on_expired: Literal["dead", "drop"] | None = None,
        priority: int | None = None,
        queue: Any = None,
        serializer: str | None = None,
        soft_time_limit: float | None = None,
        tags: Collection[str] | None = None,
        time_limit: float | None = None,
        unique: Literal["until_started", "until_done", False] | None = None,
        unique_for: float | None = None,
        unique_key: str | int | None = None,
        **options: Any,
    ) -> JobResult[R_co]:
        """``apply_async()`` for coroutines: the event loop goes on meanwhile."""

    async def aenqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """``enqueue_many()`` for coroutines: the event loop goes on meanwhile."""

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[R_co]:
        """Enqueue a job with the transaction of Flask-SQLAlchemy's session."""

    def apply_async_on_commit(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        session: Any = None,
        task_id: str | None = None,
        countdown: float | None = None,
        durable: bool | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | timedelta | None = None,
        headers: Mapping[str, Any] | None = None,
        ignore_result: bool | None = None,
        link: Any = None,
        link_error: Any = None,
        on_expired: Literal["dead", "drop"] | None = None,
        priority: int | None = None,
        queue: Any = None,
        serializer: str | None = None,
        soft_time_limit: float | None = None,
        tags: Collection[str] | None = None,
        time_limit: float | None = None,
        **options: Any,
    ) -> JobResult[R_co]:
        """Enqueue a job with options and with the transaction of ``session``."""

    def enqueue_many_on_commit(
        self, items: Iterable[Any], *, session: Any = None, **options: Any
    ) -> list[str]:
        """Enqueue one job per item with the transaction of ``session``; returns the job ids in order."""

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A signature for canvas; it may lack arguments, which the previous step supplies."""

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """A signature for canvas that ignores the previous step's result."""

    def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any, /) -> None: ...


class CoroutineTask(Task[P, R_co], Protocol[P, R_co]):
    """A declared task whose body is a coroutine."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the body in this process; inside a coroutine, return one to await."""


class TaskDecorator(Protocol):
    """The decorator that ``@jobs.task(...)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Declare ``function`` as a task."""


class BoundTaskDecorator(Protocol):
    """The decorator that ``@jobs.task(bind=True, ...)`` returns; the function's first parameter is the task itself."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Declare ``function`` as a task."""


__all__ = ["BoundTaskDecorator", "CoroutineTask", "JobResult", "Task", "TaskDecorator"]
