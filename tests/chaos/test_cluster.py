"""A short trial of every fault on a Redis Cluster of three masters and three replicas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .environment import Environment
from .faults import Fault
from .trials import faults_on, survive

pytestmark = [pytest.mark.redis, pytest.mark.thorough, pytest.mark.timeout(400)]  # busy machines are slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with Environment("cluster", tmp_path_factory.mktemp("chaos"), workers=2) as made:
        yield made


@pytest.mark.parametrize("fault", faults_on("cluster"))
def test_no_job_is_lost(environment: Environment, fault: Fault) -> None:
    survive(environment, fault)
