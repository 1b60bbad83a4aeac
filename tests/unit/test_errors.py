"""Errors survive their way from a child process and through a result backend, with what they tell."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from celery.backends.base import BaseBackend

from flask_nightshift.errors import AlreadyInProgress, BrokerUnavailable, ConfigurationError, DuplicateJob
from flask_nightshift.options.publish import InvalidOption

ERRORS: list[Exception] = [
    AlreadyInProgress("charge:7", "the job 5", "5", datetime(2026, 1, 2, tzinfo=UTC)),
    BrokerUnavailable("away"),
    ConfigurationError("ttl of jobs.once()", 0, "give seconds, above 0"),
    DuplicateJob("mail.send", "mail.send:7", "5", ("6",)),
    InvalidOption("countdown", "60", "give seconds"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
class TestAnError:
    def test_of_a_child_process(self, error: Exception) -> None:
        same(pickle.loads(pickle.dumps(error)), error)

    def test_of_a_result_backend(self, error: Exception) -> None:
        backend = BaseBackend(app=Celery(set_as_current=False), serializer="json")
        stored = json.dumps(backend.prepare_exception(error), default=str)
        found = backend.exception_to_python(json.loads(stored))
        assert str(found) == str(error)
        assert type(found) is type(error)

    def test_shows_its_sentence(self, error: Exception) -> None:
        assert repr(error) == f"{type(error).__name__}({str(error)!r})"


def same(found: Any, error: Exception) -> None:
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
