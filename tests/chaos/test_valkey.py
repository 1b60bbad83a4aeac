"""A short trial of every fault on Valkey."""

from __future__ import annotations

import os
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


# with QUICK=1, ``mixed`` alone, which has each fault
FAULTS = [fault for fault in faults_on("valkey") if fault.id == "mixed" or not os.environ.get("QUICK")]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_job_is_lost(environment: Environment, fault: Fault) -> None:
    survive(environment, fault)
