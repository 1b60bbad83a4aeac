"""The entries of the schedule, checked before Beat starts.

Entries come from ``NIGHTSHIFT_SCHEDULE``, from Celery's ``beat_schedule`` and from ``add_periodic_task``, even if the
app sets them after ``init_app``. The error for a wrong entry names the entry, the key and the value. Processes that are
not Beat import ``celery.beat`` only for an entry that is made of its classes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery.schedules import BaseSchedule, ParseException, crontab
from celery.schedules import schedule as interval
from kombu.exceptions import EncodeError
from kombu.serialization import dumps

from ..config.settings import Settings
from ..errors import ConfigurationError
from ..options.call import checked_call
from ..options.publish import InvalidOption, checked_priority, checked_queue
from ..services import Services
from . import policy

KEY = "NIGHTSHIFT_SCHEDULE"
CELERY_KEY = "beat_schedule"
PRUNE = "nightshift.prune"
"""The name of the retention task and of its schedule entry."""
_ENTRY_KEYS = ("task", "schedule", "args", "kwargs", "queue", "options", "relative", *policy.KEYS)
_ALLOWED = (
    "seconds, a timedelta, a crontab text such as '30 3 * * *' (minute hour day-of-month month day-of-week), "
    "or a Celery schedule"
)


class Entries(dict[str, dict[str, Any]]):
    """The schedule that ``init_app`` made. It remembers its origin, so that later changes of the app can be found."""

    def __init__(self, made: Mapping[str, dict[str, Any]]) -> None:
        super().__init__(made)
        self._made = {name: dict(entry) for name, entry in made.items()}

    def changes(self) -> tuple[set[str], dict[str, Any]]:
        """The names of entries that were removed since, and the entries that were added or changed."""
        changed = {name: entry for name, entry in self.items() if entry != self._made.get(name)}
        return set(self._made) - set(self), changed


def beat_schedule(settings: Settings, configured: Any = None) -> Entries:
    """The configured entries as Celery's ``beat_schedule``, with our own retention job added.

    ``configured`` replaces ``NIGHTSHIFT_SCHEDULE`` if the app set it later. ``NIGHTSHIFT_CELERY["beat_schedule"]`` adds
    to it; if two entries have the same name, Celery's takes precedence. Raises ``ConfigurationError``.
    """
    prune = {"task": PRUNE, "schedule": crontab(minute="30"), "options": {}}
    ours = _checked(KEY, settings.schedule if configured is None else configured)
    celerys = _checked(f"NIGHTSHIFT_CELERY['{CELERY_KEY}']", settings.celery.get(CELERY_KEY) or {})
    return Entries({PRUNE: prune, **ours, **celerys})


def entries(services: Services) -> dict[str, dict[str, Any]]:
    """All current entries, whoever set them and whenever; raises ``ConfigurationError``.

    A ``celery.conf.beat_schedule`` that the app set after ``init_app`` adds to the configuration, as above.
    """
    services.celery.finalize()
    services.celery.send_late_signals()
    configured = services.app.config.get(KEY)
    declared = beat_schedule(services.settings, None if isinstance(configured, str) else configured)
    current = services.celery.conf.beat_schedule
    removed, changed = current.changes() if isinstance(current, Entries) else (set(), current)
    kept = {name: entry for name, entry in declared.items() if name not in removed}
    found = {**kept, **_checked(CELERY_KEY, changed)}
    for name, entry in found.items():
        policy.check_overlap(f"{CELERY_KEY}[{name!r}]", entry, services.celery.tasks.get(entry["task"]))
    return found


def check(name: str, entry: Any, key: str = CELERY_KEY) -> dict[str, Any]:
    """The entry ``name`` as Celery wants it; raises ``ConfigurationError``. ``key`` is where it was set."""
    return _entry(f"{key}[{name!r}]", entry)


def check_periodic(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same for an entry of ``add_periodic_task``, which takes our keys for options of the job."""
    options = entry.get("options") or {}
    own = {key: options[key] for key in policy.KEYS if key in options}
    rest = {option: value for option, value in options.items() if option not in own}
    return check(name, {**entry, "options": rest, **own})


def _checked(key: str, found: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(found, Mapping):
        raise ConfigurationError(key, found, "give a dict: {'name': {'task': ..., 'schedule': ...}}")
    return {name: check(name, entry, key) for name, entry in found.items()}


def _entry(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        value = _as_mapping(key, value)
    if not isinstance(value, Mapping):
        raise ConfigurationError(key, value, "give a dict: {'task': name, 'schedule': " + _ALLOWED + "}")
    _refuse_unknown(key, value)
    task = value.get("task")
    if not isinstance(task, str) or not task:
        raise ConfigurationError(f"{key}['task']", task, "give the name of a task")
    options = _dict(f"{key}['options']", value.get("options"))
    if value.get("queue") is not None:
        options["queue"] = value["queue"]
    _check_options(f"{key}['options']", options)
    options.setdefault("on_expired", "drop")  # the next tick replaces a tick that came too late
    args, kwargs = _arguments(key, value, options.get("serializer") or "json")
    checked = {
        "task": task,
        "schedule": _when(f"{key}['schedule']", value.get("schedule")),
        "args": args,
        "kwargs": kwargs,
        "options": options,
    }
    if value.get("relative"):
        _check_relative(f"{key}['relative']", value["relative"], checked["schedule"])
        checked["relative"] = True
    return checked | policy.checked(key, value, checked)


def _check_relative(key: str, value: Any, when: BaseSchedule | timedelta) -> None:
    if isinstance(when, interval) and not when.relative:
        raise ConfigurationError(key, value, "give it to the schedule itself: schedule(..., relative=True)")
    if not isinstance(when, (timedelta, interval)):
        raise ConfigurationError(key, value, "only an interval can be relative; this schedule is none")


def _as_mapping(key: str, value: Any) -> Any:
    """The keys of Celery's ``ScheduleEntry``; any other value as it is."""
    from celery.beat import ScheduleEntry

    if not isinstance(value, ScheduleEntry):
        return value
    for name in ("is_due", "_next_instance", "__next__", "next", "default_now"):
        if getattr(type(value), name) is not getattr(ScheduleEntry, name):
            remedy = (
                f"its class overrides {name}(), which Beat does not call; put that into a class of schedules "
                "(celery.schedules.BaseSchedule), and give that as 'schedule'"
            )
            raise ConfigurationError(key, value, remedy)
    names = ("task", "schedule", "args", "kwargs", "options", *policy.KEYS)
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _refuse_unknown(key: str, value: Mapping[str, Any]) -> None:
    for name in sorted(set(value) - set(_ENTRY_KEYS), key=str):
        near = difflib.get_close_matches(str(name), _ENTRY_KEYS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        allowed = f"{hint}an entry takes {', '.join(_ENTRY_KEYS)}"
        raise ConfigurationError(f"{key}[{name!r}]", value[name], allowed)


def _check_options(key: str, options: dict[str, Any]) -> None:
    """The options of ``apply_async``, checked as at each call."""
    try:
        checked_call(options)
        if options.get("priority") is not None:
            checked_priority(options["priority"])
        if options.get("queue") is not None:
            checked_queue(options["queue"])
    except InvalidOption as exc:
        raise ConfigurationError(key, options, str(exc)) from None


def _arguments(key: str, value: Mapping[str, Any], serializer: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the job; a ``BeatLazyFunc`` stays and is called when the job is enqueued."""
    args = value.get("args")
    if args is not None and not isinstance(args, (list, tuple)):
        raise ConfigurationError(f"{key}['args']", args, "give a list or a tuple of arguments")
    kwargs = _dict(f"{key}['kwargs']", value.get("kwargs"))
    for name, each in [*((f"{key}['args'][{n}]", arg) for n, arg in enumerate(args or ())),
                       *((f"{key}['kwargs'][{n!r}]", arg) for n, arg in kwargs.items())]:  # fmt: skip
        _check_argument(name, each, serializer)
    return tuple(args or ()), kwargs


def _check_argument(key: str, value: Any, serializer: str) -> None:
    if callable(value):
        from celery.beat import BeatLazyFunc

        if isinstance(value, BeatLazyFunc):
            return
        raise ConfigurationError(
            key, value, "wrap it in celery.beat.BeatLazyFunc, which Beat calls at each tick"
        )
    try:
        dumps(value, serializer=serializer)
    except EncodeError as exc:
        raise ConfigurationError(key, value, f"it cannot be sent as {serializer}: {exc}") from None


def _dict(key: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(key, value, "give a dict whose keys are texts")
    return dict(value)


def _when(key: str, value: Any) -> BaseSchedule | timedelta:
    every: Any = value
    if isinstance(value, interval):
        every = value.run_every
    elif isinstance(value, BaseSchedule):
        return value if not isinstance(value, crontab) else _crontab(key, value)
    if isinstance(every, (int, float)) and not isinstance(every, bool):
        every = _seconds(key, every)
    if isinstance(every, timedelta):
        if every <= timedelta():
            raise ConfigurationError(key, value, f"a job cannot run every {every}; give a time above zero")
        return value if isinstance(value, interval) else every
    if isinstance(value, str):
        try:
            return crontab.from_string(" ".join(value.split()))
        except (ValueError, ParseException) as exc:
            raise ConfigurationError(key, value, f"{_ALLOWED} ({exc})") from None
    raise ConfigurationError(key, value, f"give {_ALLOWED}")


def _seconds(key: str, value: float) -> timedelta:
    try:
        return timedelta(seconds=value) if math.isfinite(value) else timedelta()
    except OverflowError:
        raise ConfigurationError(key, value, "give fewer seconds") from None


def _crontab(key: str, value: crontab) -> crontab:
    fields = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    for empty in (name for name in fields if not getattr(value, name)):
        raise ConfigurationError(key, value, f"its {empty} is empty, so it never runs")
    return value


__all__ = ["KEY", "PRUNE", "Entries", "beat_schedule", "check", "check_periodic", "entries"]
