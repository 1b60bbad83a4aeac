"""The options of a task: accepted ones, and errors with the option, the value and what is allowed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_nightshift import Nightshift
from flask_nightshift.errors import ConfigurationError

GOOD: list[dict[str, Any]] = [
    {"max_retries": None, "time_limit": None, "soft_time_limit": 0, "rate_limit": None, "expires": None},
    {"autoretry_for": (), "retry_backoff": False, "retry_jitter": False, "retry_backoff_max": 0},
    {"autoretry_for": [OSError], "dont_autoretry_for": {KeyError}, "throws": (ValueError,)},
    {"retry_backoff": True, "default_retry_delay": 1.5, "soft_time_limit": 30, "time_limit": 30},
    {"retry_kwargs": {"max_retries": 3, "countdown": 5, "queue": "slow", "priority": 3}},
    {"expires": timedelta(hours=1), "priority": 255, "rate_limit": "100/m", "serializer": "json"},
    {"tags": ["billing", "customer:7"]},
    {"tags": None},
    {
        "acks_on_failure": True,
        "reject_on_worker_lost": True,
        "retry_on_worker_lost": True,
        "delivery_mode": 2,
    },
    {"bind": True, "acks_late": False, "on_failure": print, "typing": False},
    {
        "owner": "billing",
        "sla": 30,
        "trial": 14,
        "lock_expiry": 60,
        "queue_name": "x",
        "once": {"keys": []},
    },  # attributes of the user's own
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_retries": "3"}, "max_retries of the task 'a.task' = '3' is not usable: give a whole number from 0 to"),
    ({"max_retries": -1}, "max_retries of the task 'a.task' = -1 is not usable: give a whole number from 0 to"),
    ({"max_retries": True}, "give a whole number"),
    ({"max_retries": 2.5}, "give a whole number"),
    ({"time_limit": "30"}, "time_limit of the task 'a.task' = '30' is not usable: give seconds, from 0 to"),
    ({"time_limit": -1}, "or None for no limit"),
    ({"soft_time_limit": float("nan")}, "give seconds"),
    ({"soft_time_limit": timedelta(seconds=3)}, "give seconds"),
    ({"soft_time_limit": 31, "time_limit": 30}, "it must not be above time_limit=30"),
    ({"retry_backoff": "yes"}, "give the first wait in seconds, from 0 to 268435455, or True or False"),
    ({"retry_backoff": float("inf")}, "give the first wait"),
    ({"retry_backoff_max": None}, "give seconds"),
    ({"default_retry_delay": 1e12}, "give seconds, from 0 to 268435455"),
    ({"autoretry_for": ["ValueError"]}, r"= \['ValueError'\] is not usable: give a tuple of exception classes"),
    ({"autoretry_for": ValueError}, "give a tuple of exception classes"),
    ({"dont_autoretry_for": (ValueError("x"),)}, "give a tuple of exception classes"),
    ({"retry_jitter": "no"}, "give True or False"),
    ({"acks_late": "false"}, "give True or False"),
    ({"retry_kwargs": {"max_retries": "3"}}, r"retry_kwargs of the task 'a.task'\['max_retries'\] = '3' is not usable"),
    ({"retry_kwargs": {"throw": False}}, "allowed are max_retries, countdown, queue, priority, expires"),
    ({"rate_limit": "fast"}, "'10/s', '100/m', '5/h'"),
    ({"priority": 256}, "give a whole number from 0 to 255"),
    ({"tags": "billing"}, "give a list of at most 10 printable texts of 1 to 64 characters"),
    ({"tags": [""]}, "give a list"),
    ({"tags": ["x" * 65]}, "give a list"),
    ({"tags": ["two\nlines"]}, "give a list"),
    ({"tags": [f"{number}" for number in range(11)]}, "give a list"),
    ({"tag": ["billing"]}, "did you mean 'tags'?"),
    ({"queue": ""}, "give a name of 1 to 255 bytes"),
    ({"expires": "soon"}, "give seconds, a timedelta, a datetime or an ISO 8601 text"),
    ({"on_failure": "handler"}, "give a function"),
    ({"base": "MyTask"}, "give a class that is derived from celery.Task"),
    ({"max_retrys": 3}, "there is no such option; did you mean 'max_retries'?"),
    ({"autoretry": (OSError,)}, "did you mean 'autoretry_for'?"),
    ({"soft_timelimit": 3}, "did you mean 'soft_time_limit'?"),
    ({"timeout": 3}, "did you mean 'time_limit'?"),
    ({"priorty": 3}, "did you mean 'priority'?"),
    ({"delay": 3}, "delay is a method of a task"),
    ({"acks_on_failure": False}, "give True, or leave it out: a job that failed is retried or becomes a dead letter"),
    ({"acks_on_timeout": False}, "give True, or leave it out: a job that exceeds its time limit is retried"),
    ({"acks_on_failure_or_timeout": False}, "give True, or leave it out"),
    ({"reject_on_worker_lost": False}, "give True, or leave it out: a job whose process died is retried"),
    ({"retry_on_worker_lost": False}, "give True, or leave it out"),
    ({"delivery_mode": "transient"}, "give 2 or 'persistent', or leave it out: the broker writes jobs to disk"),
    ({"mandatory": False}, "give True, or leave it out: a job that reaches no queue raises an error"),
    ({"immediate": True}, "give False, or leave it out"),
    ({"pydantic_context": ["x"]}, "give a dict with text keys, or None for none"),
]  # fmt: skip


@pytest.mark.parametrize("options", GOOD, ids=lambda options: ",".join(options))
def test_options_that_celery_accepts_are_accepted(options: dict[str, Any]) -> None:
    Nightshift().task(name="a.task", **options)(lambda: None)


@pytest.mark.parametrize(("options", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_options_are_refused_at_declaration(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Nightshift().task(name="a.task", **options)(lambda: None)
