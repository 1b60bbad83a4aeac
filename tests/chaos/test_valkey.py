"""A short trial of every fault on Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .environment import Environment
from .faults import Fault
from .trials import faults_on, survive

pytestmark = pytest.mark.timeout(400)  # busy machines are slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with Environment("valkey", tmp_path_factory.mktemp("chaos"), workers=2) as made:
        yield made


@pytest.mark.parametrize("fault", faults_on("valkey"))
def test_no_job_is_lost(environment: Environment, fault: Fault) -> None:
    survive(environment, fault)
