"""The methods of a task that enqueue its jobs: many at once, with a transaction, from a coroutine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from ..enqueue.items import arguments_of
from ..errors import DuplicateJob
from .awaited import awaited
from .results import ResultTask

if TYPE_CHECKING:
    from ..services import Services


class EnqueuingTask(ResultTask):
    """A Celery task with more ways to enqueue its jobs."""

    abstract = True

    nightshift: ClassVar[Services]

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """``delay()`` for coroutines, such as async views: the event loop goes on while the broker confirms the job."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """``apply_async()`` for coroutines, with its options, result and errors.

        With ``NIGHTSHIFT_ENQUEUE="on_commit"`` the job waits for the transaction of Flask-SQLAlchemy's session, as with
        ``delay()``; then nothing is awaited. A coroutine that is cancelled meanwhile may have enqueued its job.
        """
        return await awaited(self.nightshift, lambda: self.apply_async(args, kwargs, **options))

    async def aenqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """``enqueue_many()`` for coroutines, with its options, result and errors."""
        return await awaited(self.nightshift, lambda: self.enqueue_many(items, **options))

    def enqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """Enqueue one job per item, much faster than one ``delay()`` per item; returns the job ids in order.

        An item is a tuple (or list) of positional arguments or a dict of keyword arguments. ``options`` apply to every
        job: ``apply_async``'s ``countdown``, ``durable``, ``eta``, ``expires``, ``headers``, ``ignore_result``,
        ``link``, ``link_error``, ``priority``, ``queue``, ``serializer``, ``soft_time_limit``, ``tags``,
        ``time_limit``, ``unique``, ``unique_for``, ``on_duplicate`` and ``on_expired``. It checks and encodes
        every item before it sends the first, so memory holds them all.

        Raises ``TypeError`` if the task does not accept an item's arguments, before anything is enqueued. Raises
        ``BrokerUnavailable``, whose ``enqueued`` has the ids of the jobs accepted before, and ``DuplicateJob``, whose
        ``enqueued`` has the ids of the other jobs.
        """
        calls = arguments_of(self, items, options, self.nightshift.texts(self))
        app = self._get_app()
        ids: list[str] | None = None
        if calls and not app.conf.task_always_eager and self._dump_pydantic_arguments is None:
            ids = app.publisher.many(self, calls, options)
        if ids is None:
            ids = self._enqueue_each(calls, options)
        return ids

    def _enqueue_each(self, calls: Iterable[Any], options: dict[str, Any]) -> list[str]:
        ids: list[str] = []
        refusal: DuplicateJob | None = None
        for args, kwargs in calls:
            try:
                ids.append(self.apply_async(args, kwargs, **options).id)
            except DuplicateJob as exc:
                refusal = refusal or exc
        if refusal is not None:
            refusal.enqueued = tuple(ids)
            raise refusal
        return ids

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a job with the transaction of Flask-SQLAlchemy's session: see ``apply_async_on_commit``."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Any = None, kwargs: Any = None, *, session: Any = None, **options: Any
    ) -> Any:
        """Enqueue a job with a transaction: it is published after the commit, and not at all after a rollback.

        The job's message is written in the transaction, so a crash after the commit does not lose it. ``session`` is a
        SQLAlchemy ``Session``, ``scoped_session`` or ``Connection`` (default: Flask-SQLAlchemy's session), and begins a
        transaction as any statement does. ``options`` are those of ``apply_async``; ``countdown`` counts from this
        call. Returns the job's ``AsyncResult``.

        Needs the database and no broker. Raises ``InvalidOption`` for a session of a database that no relay reads, or
        for an option that needs Celery's producer; ``DatabaseUnavailable`` if the database has no outbox; and
        ``UnencodableArgument``.
        """
        return self.nightshift.outbox.on_commit(self.apply_async, args, kwargs, session=session, **options)

    def enqueue_many_on_commit(
        self, items: Iterable[Any], *, session: Any = None, **options: Any
    ) -> list[str]:
        """Enqueue one job per item with a transaction, as ``enqueue_many`` and ``apply_async_on_commit`` together."""
        return self.nightshift.outbox.on_commit(self.enqueue_many, items, session=session, **options)


__all__ = ["EnqueuingTask"]
