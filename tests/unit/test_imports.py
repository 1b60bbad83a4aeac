"""A process imports only what it needs: each test asks a fresh interpreter for its modules."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from imports import NEVER_IN_A_WORKER, loaded

NEVER_AT_IMPORT = (
    *NEVER_IN_A_WORKER,
    "amqp", "billiard", "celery.app", "celery.utils", "kombu", "msgspec", "redis", "rich", "sqlalchemy", "structlog",
    "flask_nightshift.app", "flask_nightshift.brokers", "flask_nightshift.cli", "flask_nightshift.journal",
    "flask_nightshift.store", "flask_nightshift.wiring", "flask_nightshift.worker",
)  # fmt: skip
NEVER_FOR_AN_APP = (
    *NEVER_IN_A_WORKER,
    "billiard.pool", "celery.apps", "celery.beat", "celery.bin", "celery.worker.consumer", "celery.worker.request",
    "pygments", "rich", "structlog",
    "flask_nightshift.cli", "flask_nightshift.dead_letters", "flask_nightshift.schedule.scheduler",
    "flask_nightshift.observe.front",
    "flask_nightshift.web.dashboard.routing", "flask_nightshift.web.dashboard.serving",
    "flask_nightshift.worker.companions", "flask_nightshift.worker.consumer", "flask_nightshift.worker.pools",
)  # fmt: skip
APP = """
    from flask import Flask
    from flask_nightshift import Nightshift

    jobs = Nightshift()

    @jobs.task(name="imports.task")
    def task() -> None: ...

    app = Flask("imports", instance_path={folder!r})
    app.config["NIGHTSHIFT_BROKER_URL"] = {broker!r}
    app.config["NIGHTSHIFT_SCHEDULE"] = {{"often": {{"task": "imports.task", "schedule": 60, "args": [1]}}}}
    jobs.init_app(app)
"""


def test_the_import_loads_flask_and_values() -> None:
    assert loaded(NEVER_AT_IMPORT, _modules("import flask_nightshift")) == []


def test_the_commands_are_listed_without_an_app_s_libraries() -> None:
    """``flask --help`` of every app in the environment imports them."""
    never = [name for name in NEVER_AT_IMPORT if name != "flask_nightshift.cli"]
    assert loaded(never, _modules("import flask_nightshift.cli")) == []


def test_the_pytest_plugin_costs_a_run_without_its_fixture_nothing() -> None:
    """pytest imports it in every run, also of an app without jobs, and before coverage is measured."""
    modules = _modules("import flask_nightshift_pytest")
    assert loaded((*NEVER_AT_IMPORT, "celery", "click", "flask", "flask_nightshift"), modules) == []


def test_logs_is_an_attribute_of_the_package() -> None:
    modules = _modules("import flask_nightshift\nflask_nightshift.logs.configure")
    assert loaded(("flask_nightshift.logs", "structlog"), modules) == ["flask_nightshift.logs"]


def test_a_task_is_declared_without_an_app_s_libraries() -> None:
    declares = (
        "import flask_nightshift as f\nf.Nightshift().task(lambda: None, name='t', queue='q', max_retries=3)"
    )
    assert loaded(NEVER_AT_IMPORT, _modules(declares)) == []


def test_an_app_loads_no_part_of_a_worker_of_beat_or_of_a_command(tmp_path: Path) -> None:
    code = APP.format(folder=str(tmp_path), broker="redis://localhost:1/0")
    assert loaded(NEVER_FOR_AN_APP, _modules(code)) == []


def test_an_app_on_rabbitmq_loads_nothing_for_redis(tmp_path: Path) -> None:
    code = APP.format(folder=str(tmp_path), broker="amqp://localhost:1/")
    redis = ("kombu.transport.redis", "redis", "flask_nightshift.brokers.redis")
    assert loaded((*NEVER_FOR_AN_APP, *redis), _modules(code)) == []


def test_an_app_that_formats_its_logs_loads_structlog(tmp_path: Path) -> None:
    """The lists above can fail: the names in them are those of modules that do load."""
    code = APP.format(folder=str(tmp_path), broker="memory://") + "\n    from flask_nightshift import logs"
    modules = _modules(code + "\n    logs.configure(app)\n    app.extensions['nightshift'].store.migrate()")
    assert loaded(("alembic", "rich", "structlog"), modules) == ["alembic", "rich", "structlog"]


def _modules(code: str) -> list[str]:
    """The modules of a fresh interpreter that ran ``code``."""
    program = textwrap.dedent(code) + "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))
