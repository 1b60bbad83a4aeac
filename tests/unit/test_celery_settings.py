"""Every Celery setting is honoured, merged or refused by name, also after the app is set up."""

from __future__ import annotations

import logging
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.app.defaults import _TO_NEW_KEY, DEFAULTS
from celery.schedules import crontab
from flask import Flask

from flask_nightshift import ConfigurationError, Nightshift
from flask_nightshift.config import celery_settings
from flask_nightshift.observe.doctor import examine
from flask_nightshift.schedule import entries as schedule

REFUSED = {**celery_settings.REFUSED, **{name: why for name, (_, why) in celery_settings._FIXED.items()}}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)


def nothing() -> None:
    """The body of every task."""


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    """Make an app; ``shop(NIGHTSHIFT_…=…)`` gives its Celery app, with two tasks."""

    def make(celery: dict[str, Any] | None = None, **config: Any) -> Any:
        app = Flask("shop", instance_path=str(tmp_path))
        app.config.update(
            {"NIGHTSHIFT_BROKER_URL": "redis://127.0.0.1:1", "NIGHTSHIFT_CELERY": celery or {}, **config}
        )
        jobs = Nightshift(app)
        jobs.task(name="mail.send")(nothing)
        own = {"time_limit": 11, "soft_time_limit": 9, "queue": "own", "ignore_result": True}
        jobs.task(name="mail.own", **own)(nothing)
        made = app.extensions["celery"]
        made.flask = app
        return made

    return make


def queue_of(celery: Any, name: str) -> str:
    return str(celery.amqp.router.route({}, name, (), {}, celery.tasks[name])["queue"].name)


def test_the_table_has_all_of_celery_s_settings_once() -> None:
    kinds = (
        celery_settings.HONOURED,
        celery_settings.OF_TASKS,
        celery_settings.MERGED,
        celery_settings._FIXED,
        celery_settings.REFUSED,
    )
    for name in DEFAULTS:
        places = sum(name in kind for kind in kinds) + name.startswith(celery_settings.STORES)
        assert places == 1, name
    for name in REFUSED | celery_settings.OF_TASKS | celery_settings.MERGED:
        assert name in DEFAULTS, name


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_unsupported_settings_are_refused_with_a_remedy(shop: Any, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        shop({name: "redis://:secret@elsewhere"})
    assert str(caught.value).startswith(f"NIGHTSHIFT_CELERY['{name}'] = ")
    assert REFUSED[name] in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_later_changes_of_settings_are_checked_too(shop: Any, name: str) -> None:
    celery = shop()
    for change in (
        lambda: celery.conf.update({name: "elsewhere"}),
        lambda: setattr(celery.conf, name, "elsewhere"),
        lambda: celery.config_from_object(types.SimpleNamespace(**{name: "elsewhere"})),
    ):
        with pytest.raises(ConfigurationError, match=rf"^celery.conf\['{name}'\]"):
            change()


def test_a_setting_with_its_fixed_value_is_accepted(shop: Any) -> None:
    shop({"task_reject_on_worker_lost": True, "task_default_delivery_mode": 2, "broker_url": None})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("task_time_limt", "did you mean 'task_time_limit'?"),
        ("worker_concurency", "did you mean 'worker_concurrency'?"),
        ("task_frobnicate", "Celery has no such setting"),
        ("CELERY_TASK_TIME_LIMT", "did you mean 'task_time_limit'?"),
    ],
)
def test_a_misspelt_setting_is_refused(shop: Any, name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint.replace("?", r"\?")):
        shop({name: 7})


def test_a_library_s_own_setting_is_handed_on(shop: Any) -> None:
    assert shop({"redbeat_key_prefix": "shop"}).conf.redbeat_key_prefix == "shop"


@pytest.mark.parametrize("old", sorted(_TO_NEW_KEY))
def test_an_old_name_stands_for_the_present_one(old: str) -> None:
    assert celery_settings.current_name(old) == _TO_NEW_KEY[old]


def test_old_names_and_those_with_the_prefix_are_honoured(shop: Any) -> None:
    celery = shop({"CELERYD_TASK_TIME_LIMIT": 60, "CELERY_RESULT_EXPIRES": 5})
    assert (celery.tasks["mail.send"].time_limit, celery.conf.result_expires) == (60, 5)
    with pytest.raises(ConfigurationError, match="the same setting"):
        shop({"CELERYD_TASK_TIME_LIMIT": 60, "task_time_limit": 61})


def published_to(celery: Any, task: Any) -> str:
    """The queue that a ``delay()`` of ``task`` goes to, by its name."""
    call = celery.publisher._calls.checked(task.name, (), {}, {"task_type": task})
    return str(celery.publisher._queues.of(call).name)


def check_the_settings_of_tasks(celery: Any) -> None:
    plain, own = celery.tasks["mail.send"], celery.tasks["mail.own"]
    assert (plain.time_limit, own.time_limit) == (60, 11)
    assert (plain.soft_time_limit, own.soft_time_limit) == (54, 9)
    assert (plain.ignore_result, own.ignore_result) == (False, True)
    assert plain.acks_late is False
    assert plain.track_started is True
    assert (plain.rate_limit, plain.priority) == ("7/m", 3)
    assert plain._get_exec_options()["time_limit"] == 60
    assert queue_of(celery, "mail.send") == "routed"
    assert queue_of(celery, "mail.own") == "own"
    assert set(celery.services.queues()) == {"celery", "own", "routed"}
    assert published_to(celery, plain) == "routed"
    assert published_to(celery, own) == "own"


OF_TASKS = {
    "task_time_limit": 60,
    "task_ignore_result": False,
    "task_acks_late": False,
    "task_track_started": True,
    "task_default_rate_limit": "7/m",
    "task_default_priority": 3,
    "task_routes": {"mail.*": "routed"},
}


def test_the_options_of_tasks_hold_for_those_that_do_not_set_their_own(shop: Any) -> None:
    check_the_settings_of_tasks(shop(OF_TASKS))


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("how", ["update", "attributes", "object"])
def test_task_settings_may_change_after_set_up(shop: Any, how: str, used: bool) -> None:
    celery = shop()
    if used:
        assert celery.tasks["mail.send"]._get_exec_options()["time_limit"] == 330
        assert queue_of(celery, "mail.send") == "celery"
        assert published_to(celery, celery.tasks["mail.send"]) == "celery"
    if how == "update":
        celery.conf.update(OF_TASKS)
    elif how == "object":
        celery.config_from_object({f"SHOP_{k.upper()}": v for k, v in OF_TASKS.items()}, namespace="SHOP")
    else:
        for name, value in OF_TASKS.items():
            setattr(celery.conf, name, value)
    check_the_settings_of_tasks(celery)


def test_routes_go_before_the_queue_of_all_tasks(shop: Any) -> None:
    celery = shop({"task_routes": {"mail.send": "routed"}}, NIGHTSHIFT_TASK_DEFAULTS={"queue": "all"})
    celery.task(name="other.task", shared=False)(nothing)
    assert [queue_of(celery, name) for name in ("mail.send", "mail.own", "other.task")] == [
        "routed",
        "own",
        "all",
    ]


def test_task_annotations_override_other_options(shop: Any) -> None:
    celery = shop({"task_annotations": {"*": {"rate_limit": "3/m"}, "mail.own": {"time_limit": 77}}})
    assert celery.tasks["mail.send"].rate_limit == "3/m"
    assert celery.tasks["mail.own"].time_limit == 77


def test_a_soft_limit_above_the_hard_default_raises_it_and_two_places_must_agree(shop: Any) -> None:
    task = shop({"task_soft_time_limit": 600}).tasks["mail.send"]
    assert (task.soft_time_limit, task.time_limit) == (600, 630)
    task = shop(NIGHTSHIFT_TASK_DEFAULTS={"time_limit": 60}).tasks["mail.send"]
    assert (task.soft_time_limit, task.time_limit) == (54, 60)
    with pytest.raises(ConfigurationError, match=r"NIGHTSHIFT_TASK_DEFAULTS\['time_limit'\] is 50"):
        shop({"task_time_limit": 60}, NIGHTSHIFT_TASK_DEFAULTS={"time_limit": 50})


def test_schedules_of_all_sources_are_merged(shop: Any) -> None:
    ours = {"ours": {"task": "mail.send", "schedule": 60}}
    theirs = {"theirs": {"task": "mail.own", "schedule": crontab(minute="5")}}
    celery = shop({"beat_schedule": theirs}, NIGHTSHIFT_SCHEDULE=ours)
    assert set(celery.conf.beat_schedule) == {"ours", "theirs", "nightshift.prune"}
    celery.conf.beat_schedule = {"late": {"task": "mail.send", "schedule": timedelta(minutes=1)}}
    assert set(schedule.entries(celery.services)) == {"ours", "theirs", "late", "nightshift.prune"}


@pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_RESULT_BACKEND"])
def test_celery_s_own_variables_split_nothing(shop: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "redis://:secret@elsewhere:2")
    conf = shop().conf
    for setting in ("broker_url", "broker_read_url", "broker_write_url", "result_backend"):
        assert "127.0.0.1:1" in getattr(conf, setting)


@pytest.mark.parametrize("where", ["config", "environment"])
def test_leftovers_are_named_at_the_start_and_by_the_doctor(
    shop: Any, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = {
        "CELERY_BROKER_URL": ("redis://:secret@elsewhere", "NIGHTSHIFT_BROKER_URL"),
        "CELERYD_TASK_TIME_LIMIT": ("60", "NIGHTSHIFT_CELERY['task_time_limit']"),
        "CELERYBEAT_SCHEDULE": ("{}", "NIGHTSHIFT_CELERY['beat_schedule']"),
        "CELERY_TASK_PUBLISH_RETRY": ("1", "`delay()` returns an id or raises"),
    }
    config: dict[str, Any] = {}
    if where == "config":
        left["CELERY['result_backend']"] = ("redis://:secret@elsewhere", "NIGHTSHIFT_RESULT_BACKEND")
        config = {key: value for key, (value, _) in left.items() if "[" not in key}
        config["CELERY"] = {
            "result_backend": "redis://:secret@elsewhere",
            "broker_url": "redis://127.0.0.1:1",
        }
    else:
        left["NIGHTSHIFT_BROKER_ULR"] = ("redis://:secret@elsewhere", "did you mean NIGHTSHIFT_BROKER_URL?")
        left["NIGHTSHIFT_XYZZY"] = ("1", "there is no such setting")
        for key, (value, _) in left.items():
            monkeypatch.setenv(key, value)
    with caplog.at_level(logging.WARNING, "flask_nightshift"):
        celery = shop(**config)
    lines = [record.getMessage() for record in caplog.records]
    found = [x for x in examine(celery.services) if x.check == "settings"]
    assert len(lines) == len(found) == len(left)
    for name, (_, way) in left.items():
        assert any(line.startswith(f"setting.ineffective: {name} in ") and way in line for line in lines), (
            name
        )
        assert any(x.message.startswith(f"{name} in ") and way in x.remedy for x in found), name
    assert not any("secret" in line for line in lines)


def test_effective_and_foreign_settings_are_no_leftovers(
    shop: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("CELERY_APP", "shop")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "")
    shop(CELERY_FAVOURITE_VEGETABLE="leek", BROKER_NAME="Smith & Sons")
    assert not caplog.records
