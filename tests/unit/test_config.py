"""Configuration: good and bad values of each key, their sources, and no password in any error."""

from __future__ import annotations

import importlib.util
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_nightshift.config import Settings
from flask_nightshift.config import settings as config
from flask_nightshift.domain.job import FINISHED
from flask_nightshift.errors import ConfigurationError
from flask_nightshift.text.passwords import hide_password

KEPT = dict.fromkeys(map(str, FINISHED), 7.0)
GOOD: dict[str, list[tuple[Any, Any]]] = {
    "broker_url": [
        ("embedded://", "embedded://"),
        ("redis://:pw@host:6379/0", "redis://:pw@host:6379/0"),
        ("redis+cluster://:pw@a:1,b:2", "redis+cluster://:pw@a:1,b:2"),
        ("amqp://u:p@a//;amqp://u:p@b//", "amqp://u:p@a//;amqp://u:p@b//"),
    ],
    "database_url": [
        ("postgresql+psycopg://u@h/n", "postgresql+psycopg://u@h/n"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
    "schedule": [
        ({"a": {"task": "t"}}, {"a": {"task": "t"}}),
        ('{"a": {"task": "t"}}', {"a": {"task": "t"}}),
    ],
    "celery": [({"task_serializer": "json"}, {"task_serializer": "json"}), ("{}", {})],
    "task_defaults": [
        ({"max_retries": 3}, {"max_retries": 3}),
        ('{"time_limit": 9, "soft_time_limit": 8}', {"time_limit": 9, "soft_time_limit": 8}),
    ],
    "default_queue": [("mail", "mail"), ("eu.west:mail-1", "eu.west:mail-1")],
    "queues": [("mail, images", ("mail", "images")), (["mail"], ("mail",))],
    "redis_transport": [("kombu", "kombu"), ("lease", "lease")],
    "delivery_limit": [(3, 3), ("7", 7), (2.0, 2)],
    "unknown_task_wait": [(0, 0.0), ("1.5", 1.5), (timedelta(minutes=1), 60.0)],
    "stop_grace": [(30, 30.0), (timedelta(seconds=5), 5.0)],
    "result_backend": [("redis://h", "redis://h"), ("", None)],
    "history": [("all", "all"), ("failures", "failures"), ("OFF", "off")],
    "redact": [
        (["iban", "pin"], ("iban", "pin")),
        ([], ()),
        ('["iban"]', ("iban",)),
        ("iban, X-Pin", ("iban", "X-Pin")),
    ],
    "keep_jobs_days": [
        (1, KEPT | dict.fromkeys(KEPT, 1.0)),
        ({"dead": 30, "cancelled": 2}, KEPT | {"dead": 30.0, "cancelled": 2.0}),
        ('{"succeeded": 0.5}', KEPT | {"succeeded": 0.5}),
    ],
    "keep_dead_days": [(365, 365.0)],
    "keep_once_days": [("0.5", 0.5), (365, 365.0)],
    "keep_audit_days": [("30", 30.0), (3650, 3650.0)],
    "keep_waiting_days": [(365, 365.0), ("", None)],
    "enqueue": [("at_once", "at_once"), ("ON_COMMIT", "on_commit")],
    "version": [("3f2a1bc", "3f2a1bc"), (20261127, "20261127"), ("1.10", "1.10"), ("", None)],
    "log_format": [("json", "json"), ("console", "console")],
    "log_level": [("DEBUG", "DEBUG"), ("info", "INFO"), ("Critical", "CRITICAL")],
    "url_prefix": [("", ""), ("/internal", "/internal"), ("/a/b-c", "/a/b-c")],
    "http_access": [("open", "open"), ("off", "off")],
    "http_token": [("s3cret", "s3cret"), ("", None)],
    "dashboard_prefix": [("/ops/jobs", "/ops/jobs"), ("off", ""), ("OFF", ""), ("", "/nightshift")],
    "dashboard_auth": [(Path, Path), ("shop.auth:who", "shop.auth:who"), ("shop.auth.who", "shop.auth.who")],
    "links": [
        ({"logs": "https://l.example/?q={job_id}"}, {"logs": "https://l.example/?q={job_id}"}),
        ('{"t": "http://t/{task}/{worker}"}', {"t": "http://t/{task}/{worker}"}),
    ],
}
BAD: dict[str, list[Any]] = {
    "broker_url": [
        "redis", "redis://", "http://host", "redis://a;ftp://b", 7, "redis://h:notaport/0", "redis://h:0",
        "amqp://u:p@h:99999//", "redis://h/zero", "redis+cluster://h/1",
        "redis+cluster://a:1;b:2", "redis+cluster://a:0", "redis-cluster://h",
    ],
    "database_url": [
        "nonsense", 7, "sqlite://", "mysql://u:p@h/n", "postgresql+pg8000://u@h/n", "sqlite+aiosqlite:///x",
    ],
    "schedule": ["{", "[]", 7, {1: {}}],
    "celery": ["nonsense", [1], 7],
    "task_defaults": [{"max_retires": 1}, {"soft_time_limit": 10, "time_limit": 9}, {"max_retries": "3"}, "[]"],
    "default_queue": ["with space", "nightshift.dead", "celery_delayed_1", 7, "x" * 201],
    "queues": ["mail,,images", ["a b"], 7, {"a": 1}],
    "redis_transport": ["stock", 7],
    "delivery_limit": [0, 1001, 1.5, "many", True, None.__class__],
    "unknown_task_wait": [-1, "soon", float("nan"), float("inf"), True],
    "stop_grace": [-0.1, "x", [1], 100_000],
    "result_backend": [7, "redis+cluster://other:6379"],
    "history": ["none", True, 0],
    "redact": [7, ["_"], [7], "iban,,pin", {"iban": 1}],
    "keep_jobs_days": [0, -1, "x", [1], {"running": 1}, {"dead": 0}, {"dead": "x"}, {"dead": None}, {1: 1}, "{"],
    "keep_dead_days": [0, "for ever"],
    "keep_once_days": [0, "for ever"],
    "keep_audit_days": [0, "for ever"],
    "keep_waiting_days": [0, "for ever"],
    "enqueue": ["later", True],
    "version": [1.1, True, "x" * 201, ["1.0"]],
    "log_format": ["xml"],
    "log_level": ["LOUD", 10],
    "url_prefix": ["internal", "/internal/", "/with space", 7],
    "http_access": ["everyone", True],
    "http_token": [7],
    "dashboard_prefix": ["nightshift", "/nightshift/", "/", "/with space", 7],
    "dashboard_auth": ["who", "not a path", 7, ["shop.auth:who"]],
    "links": [
        "https://l.example", {"logs": "javascript:alert(1)"}, {"logs": "https://l/{id}"}, {"logs": "https://l/{"},
        {"logs": "https://l/{job_id!r}"}, {1: "https://l"}, {"logs": 7}, ["https://l"],
        {str(n): "https://l" for n in range(21)},
    ],
}  # fmt: skip


def load(instance: Path | None = None, **values: Any) -> Settings:
    return loaded(values, instance)


def loaded(values: dict[str, Any], instance: Path | None = None) -> Settings:
    app = Flask("shop", instance_path=str(instance or "/srv/shop/instance"))
    app.config.update(values)
    return config.load(app)


def key(name: str) -> str:
    return config.PREFIX + name.upper()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for item in fields(Settings):
        monkeypatch.delenv(key(item.name), raising=False)


def test_every_setting_has_a_test_here() -> None:
    names = {item.name for item in fields(Settings)}
    assert names == set(GOOD) == set(BAD)


@pytest.mark.parametrize(
    ("name", "value", "expected"), [(n, v, e) for n, pairs in GOOD.items() for v, e in pairs]
)
def test_good_values(name: str, value: Any, expected: Any) -> None:
    assert getattr(load(**{key(name): value}), name) == expected


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_bad_values_are_refused_with_the_key_and_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(**{key(name): value})
    assert str(caught.value).startswith(key(name))
    assert caught.value.allowed
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", [item.name for item in fields(Settings)])
def test_the_environment_stands_in_for_what_the_app_does_not_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [(value, expected) for value, expected in GOOD[name] if isinstance(value, str)]
    value, expected = texts[-1] if texts else (str(GOOD[name][0][0]), GOOD[name][0][1])
    monkeypatch.setenv(key(name), value)
    assert getattr(load(), name) == expected


def test_the_app_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_DEFAULT_QUEUE", "from-the-environment")
    assert load(NIGHTSHIFT_DEFAULT_QUEUE="from-the-app").default_queue == "from-the-app"


def test_a_wrong_value_in_the_environment_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_DELIVERY_LIMIT", "many")
    with pytest.raises(ConfigurationError, match="NIGHTSHIFT_DELIVERY_LIMIT = 'many'"):
        load()


def test_flask_s_own_loader_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_NIGHTSHIFT_DELIVERY_LIMIT", "9")
    app = Flask("shop")
    app.config.from_prefixed_env()
    assert config.load(app).delivery_limit == 9


def test_none_counts_as_not_set() -> None:
    assert load(NIGHTSHIFT_DELIVERY_LIMIT=None).delivery_limit == 5


@pytest.mark.parametrize("prefix", ["", "FLASK_"])
@pytest.mark.parametrize("name", [item.name for item in fields(Settings)])
def test_an_empty_variable_counts_as_not_set(name: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = load()
    monkeypatch.setenv(prefix + key(name), "")
    app = Flask("shop", instance_path="/srv/shop/instance")
    app.config.from_prefixed_env()
    assert config.load(app) == usual


@pytest.mark.parametrize(
    ("typo", "hint"),
    [
        ("NIGHTSHIFT_BROKER", "did you mean NIGHTSHIFT_BROKER_URL?"),
        ("NIGHTSHIFT_DELIVERY_LIMITS", "did you mean NIGHTSHIFT_DELIVERY_LIMIT?"),
        ("NIGHTSHIFT_XYZZY", "the settings are NIGHTSHIFT_BROKER_URL, NIGHTSHIFT_CELERY"),
    ],
)
def test_an_unknown_key_is_refused_with_a_hint(typo: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded({typo: "x"})
    assert typo in str(caught.value)
    assert hint in str(caught.value)


def test_a_token_is_needed_where_access_asks_for_one() -> None:
    with pytest.raises(ConfigurationError, match="NIGHTSHIFT_HTTP_TOKEN"):
        load(NIGHTSHIFT_HTTP_ACCESS="token")
    assert load(NIGHTSHIFT_HTTP_ACCESS="token", NIGHTSHIFT_HTTP_TOKEN="t").http_token == "t"


class TestDatabase:
    def test_the_default_is_sqlite_in_the_instance_folder(self, tmp_path: Path) -> None:
        assert load(tmp_path).database_url == f"sqlite:///{tmp_path}/nightshift.sqlite3"

    def test_flask_sqlalchemy_s_database_is_used_where_there_is_one(self, tmp_path: Path) -> None:
        url = "postgresql+psycopg://u:p@h/n"
        assert load(tmp_path, SQLALCHEMY_DATABASE_URI=url).database_url == url

    def test_our_database_url_precedes_flask_sqlalchemy_s(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = {
            "SQLALCHEMY_DATABASE_URI": "sqlite:////theirs.db",
            "NIGHTSHIFT_DATABASE_URL": "sqlite:////ours.db",
        }
        assert load(tmp_path, **both).database_url == "sqlite:////ours.db"
        monkeypatch.setenv("NIGHTSHIFT_DATABASE_URL", "sqlite:////env.db")
        assert (
            load(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite:////theirs.db").database_url == "sqlite:////env.db"
        )

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
    def test_a_database_in_memory_stays_in_memory(self, tmp_path: Path, url: str) -> None:
        assert str(tmp_path) not in load(tmp_path, SQLALCHEMY_DATABASE_URI=url, TESTING=True).database_url

    @pytest.mark.parametrize(
        "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
    )
    @pytest.mark.parametrize("name", ["NIGHTSHIFT_DATABASE_URL", "SQLALCHEMY_DATABASE_URI"])
    def test_memory_is_for_tests(self, name: str, url: str) -> None:
        with pytest.raises(ConfigurationError, match="in tests set TESTING before init_app") as caught:
            loaded({name: url})
        assert caught.value.key == name

    def test_the_error_for_an_unsupported_app_database_names_our_key(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load(SQLALCHEMY_DATABASE_URI="mysql+pymysql://u:s3cret@h/n")
        assert str(caught.value) == (
            "SQLALCHEMY_DATABASE_URI = 'mysql+pymysql://u:***@h/n' is not usable: Nightshift keeps its history in "
            "SQLite or PostgreSQL: set NIGHTSHIFT_DATABASE_URL to a sqlite:// or postgresql:// URL"
        )
        ours = {"NIGHTSHIFT_DATABASE_URL": "sqlite:////ours.db", "SQLALCHEMY_DATABASE_URI": "mysql://h/n"}
        assert loaded(ours).database_url == "sqlite:////ours.db"

    @pytest.mark.parametrize(
        ("installed", "given", "found"),
        [
            ({"psycopg", "psycopg2"}, "postgresql", "postgresql+psycopg"),
            ({"psycopg2"}, "postgresql", "postgresql+psycopg2"),
            ({"psycopg2"}, "postgres", "postgresql+psycopg2"),
            ({"psycopg"}, "postgres", "postgresql+psycopg"),
            ({"psycopg", "psycopg2"}, "postgresql+psycopg2", "postgresql+psycopg2"),
            ({"psycopg", "psycopg2"}, "postgresql+psycopg", "postgresql+psycopg"),
        ],
    )
    def test_postgresql_is_reached_by_the_driver_that_is_installed(
        self, monkeypatch: pytest.MonkeyPatch, installed: set[str], given: str, found: str
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
        assert load(SQLALCHEMY_DATABASE_URI=f"{given}://u:p@h/n").database_url == f"{found}://u:p@h/n"

    @pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
    def test_without_a_driver_the_start_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"pip install 'Flask-Nightshift\[postgres\]'"):
            load(NIGHTSHIFT_DATABASE_URL=f"{scheme}://u:p@h/n")

    def test_a_relative_path_is_in_the_instance_folder_and_a_password_is_kept(self, tmp_path: Path) -> None:
        assert (
            load(tmp_path, NIGHTSHIFT_DATABASE_URL="sqlite:///sub/x.db").database_url
            == f"sqlite:///{tmp_path}/sub/x.db"
        )
        assert "s3cret" in load(tmp_path, NIGHTSHIFT_DATABASE_URL="postgresql://u:s3cret@h/n").database_url


class TestPasswords:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("broker_url", "http://user:s3cret@host"),
            ("broker_url", "redis://:s3cret@a;ftp://:s3cret@b"),
            ("broker_url", "redis:/:s3cret@host"),
            ("database_url", "postgresql//user:s3cret@host/n"),
            ("database_url", "postgresql://user:s3cret@host:port/n"),
            ("http_token", ["s3cret"]),
            ("celery", '{"result_backend": "redis://:s3cret@h",'),
            ("http_tokn", "s3cret"),
            ("broker", "redis://:s3cret@h"),
        ],
    )  # fmt: skip
    def test_no_error_shows_one(self, name: str, value: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load(**{key(name): value})
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in str(caught.value.__cause__ or "")

    @pytest.mark.parametrize(
        ("text", "hidden"),
        [
            ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
            ("rediss://user:s3cret@host", "rediss://user:***@host"),
            ("amqp://u:s3cret@a//;amqp://u:s3cret@b//", "amqp://u:***@a//;amqp://u:***@b//"),
            ("cannot reach postgresql+psycopg://u:s3cret@h/n now", "cannot reach postgresql+psycopg://u:***@h/n now"),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("embedded://", "embedded://"),
            ("http://host/path:with@signs", "http://host/path:with@signs"),
            ("http://host:8443/users/ann@example.org", "http://host:8443/users/ann@example.org"),
            ('{"url":"http://h:80","to":"ann@example.org"}', '{"url":"http://h:80","to":"ann@example.org"}'),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ],
    )  # fmt: skip
    def test_passwords_in_text_are_hidden(self, text: str, hidden: str) -> None:
        assert hide_password(text) == hidden

    @pytest.mark.parametrize("password", ["s3c/ret", "s3c@ret", "s3c:ret", "s3c#ret", "s3c%40ret", "s3c?ret"])
    def test_a_password_in_any_notation_is_hidden(self, password: str) -> None:
        hidden = hide_password(f"redis://user:{password}@host:6379/0")
        assert "s3c" not in hidden
        assert "ret@" not in hidden
        assert hidden.endswith("@host:6379/0")

    def test_the_repr_of_settings_shows_no_password(self) -> None:
        settings = load(
            NIGHTSHIFT_BROKER_URL="redis://:s3cret@h",
            NIGHTSHIFT_HTTP_ACCESS="token",
            NIGHTSHIFT_HTTP_TOKEN="s3cret",
        )
        assert "s3cret" not in repr(settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        load().delivery_limit = 1  # type: ignore[misc]
