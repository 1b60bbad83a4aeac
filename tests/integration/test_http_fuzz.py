"""Schemathesis sends the API what its document allows, and what it does not: no 500, and answers as documented."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api_client import PREFIX, Api
from flask_nightshift.domain.job import Reason
from opsapp import opened, publishes
from servers import wait_for

PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]
SETTINGS = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
SEED = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(2**32))
"""Each run sends other requests; a failure says with which seed to repeat them."""
HOSTILE = "</script>\x1b[31m\ud800 \u202e {{7*7}}"


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def schema(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    broker, database = request.param
    folder = tmp_path_factory.mktemp("fuzz")
    url = f"sqlite:///{folder}/history.sqlite3"
    if database == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
    config: dict[str, Any] = {
        "NIGHTSHIFT_DATABASE_URL": url,
        "NIGHTSHIFT_SCHEDULE": {"a/b nightly": {"task": "mail.send", "schedule": 86_400, "args": [1]}},
    }
    with opened(folder, request.getfixturevalue(broker).fresh_url(), **config) as ops:
        wait_for(lambda: publishes(ops), 60, "the broker takes no job")
        ops.all_well()
        ops.beat_seen()
        for outcome in ("succeeded", "retried", "dead"):
            ops.ran(outcome=outcome)
        ops.enqueue(count=3)
        ops.bury(text=HOSTILE, error=HOSTILE)
        ops.bury(task=HOSTILE, reason=Reason.UNKNOWN_TASK)
        with ops.app.app_context():
            ops.send.apply_async((1,), countdown=3600)
            ops.send.apply_async((1,), unique="until_done", unique_key=HOSTILE)
        ops.flush()
        api = Api(ops.app)
        loaded = schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", ops.app, headers=api.headers)
        yield loaded, api


def test_answers_conform_to_the_document(schema: Any) -> None:
    loaded, api = schema
    for found in loaded.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @seed(SEED)
            @given(case=operation.as_strategy(generation_mode=mode))
            @SETTINGS
            def fuzz(case: Any) -> None:
                case.call_and_validate(headers=api.headers, excluded_checks=[positive_data_acceptance])

            try:
                fuzz()
            except BaseException as exc:
                exc.add_note(f"Repeat it with FUZZ_SEED={SEED}.")
                raise
