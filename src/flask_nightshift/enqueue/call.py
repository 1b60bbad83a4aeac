"""One call that enqueues a job: its options are checked once, before the publisher chooses a wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from celery import Celery
from celery.utils.time import maybe_iso8601, maybe_make_aware

from ..options.call import checked_call, with_limits
from ..options.publish import check_serializer, checked_priority, checked_queue


class Call(NamedTuple):  # each enqueued job creates one, and no other value is cheaper to create
    """The name of a task, its arguments, and the options of the call under Celery's names.

    ``options`` are checked and contain no None. ``asked`` are the options as the caller gave them, with None. ``task``
    is the task object, or None if this process does not know it. ``due`` replaces the options ``countdown`` and
    ``eta``: the time from which the job may start, None for at once.
    """

    name: str
    args: Any
    kwargs: Any
    options: dict[str, Any]
    asked: Mapping[str, Any]
    task: Any
    due: datetime | None

    def cleared(self) -> dict[str, None]:
        """The options that the caller gave as None; to Celery that differs from an omitted option."""
        return dict.fromkeys(name for name, value in self.asked.items() if value is None)


class Calls:
    """Checks the calls of one Celery app."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._serializers: set[str] = set()

    def checked(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Call:
        """Check the ``options`` of ``Celery.send_task``; raises ``InvalidOption`` for a wrong one."""
        given = {key: value for key, value in options.items() if value is not None}
        task = given.get("task_type") or self._app._tasks.get(name)  # noqa: SLF001 - as Celery, without finalizing
        given = with_limits(checked_call(given), task)
        if "queue" in given:
            checked_queue(given["queue"])
        if "priority" in given:
            given["priority"] = checked_priority(given["priority"])
        if "serializer" in given:
            self._check_serializer(given["serializer"])
        due = None
        if "countdown" in given or "eta" in given:
            due = self._due(given.pop("countdown", None), given.pop("eta", None))
        return Call(name, args, kwargs, given, options, task, due)

    def _check_serializer(self, serializer: str) -> None:
        if serializer not in self._serializers:
            check_serializer(serializer, self._app.conf.accept_content)
            self._serializers.add(serializer)

    def _due(self, countdown: float | None, eta: datetime | str | None) -> datetime | None:
        if countdown:
            now: datetime = self._app.now()
            return now + timedelta(seconds=countdown)
        return moment(eta, self._app.timezone)


def moment(eta: datetime | str | None, timezone: tzinfo) -> datetime | None:
    """An ``eta`` as an aware datetime; None if there is none."""
    found: datetime | None = maybe_make_aware(maybe_iso8601(eta), timezone) if eta else None
    return found


__all__ = ["Call", "Calls", "moment"]
