"""What a type checker sees of a task: ``@jobs.task`` keeps the function's parameters and its result.

Celery ships no types. These protocols describe what a ``TaskProxy`` and an ``AsyncResult`` can do; nothing here runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class JobResult(Protocol[R_co]):
    """Celery's ``AsyncResult`` of one job, whose task returns ``R_co``; attributes that are not listed are ``Any``."""

    @property
    def id(self) -> str:
        """The job id."""

    @property
    def state(self) -> str:
        """Celery's state of the job, such as ``PENDING`` or ``SUCCESS``."""

    def get(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> R_co:
        """Wait for the result, for ``timeout`` seconds at most; it is stored only with ``ignore_result=False``."""

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
        """Run the body here and now, in the app context."""

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[R_co]:
        """Enqueue a job. Raises ``BrokerUnavailable`` within 3 s."""

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | timedelta | None = None,
        headers: Mapping[str, Any] | None = None,
        ignore_result: bool | None = None,
        link: Any = None,
        link_error: Any = None,
        priority: int | None = None,
        queue: Any = None,
        serializer: str | None = None,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
        **options: Any,
    ) -> JobResult[R_co]:
        """Enqueue a job with options. Type checkers do not compare ``args`` and ``kwargs`` with ``P``."""

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> JobResult[R_co]:
        """Run the body here and now, as a worker would."""

    def enqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """Enqueue one job for each item, a tuple or a dict of arguments; their ids, in order."""

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A signature for canvas. It may lack arguments, which the step before supplies."""

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """A signature for canvas that takes no result of the step before."""

    def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any, /) -> None: ...


class CoroutineTask(Task[P, R_co], Protocol[P, R_co]):
    """A declared task whose body is a coroutine."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the body here and now; inside a coroutine, return one to await."""


class TaskDecorator(Protocol):
    """What ``@jobs.task(...)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Declare ``function`` as a task."""


class BoundTaskDecorator(Protocol):
    """What ``@jobs.task(bind=True, ...)`` returns: the function's first parameter is the task itself."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Declare ``function`` as a task."""


__all__ = ["BoundTaskDecorator", "CoroutineTask", "JobResult", "Task", "TaskDecorator"]
