"""A dead letter that was archived and acknowledged does not come back."""

from __future__ import annotations

from burials import DeadLetterSystem, dead_letter_system  # noqa: F401 - a fixture
from servers import wait_for


def test_each_letter_is_archived_once(system: DeadLetterSystem) -> None:
    """RabbitMQ's quorum queues delay acknowledgements, and forget those whose channel closes meanwhile."""
    for number in range(4):
        ids = [system.bury(f"j{number}-{one}") for one in range(90)]
        wait_for(lambda: system.in_queue() == len(ids), 10, "not all are there")  # noqa: B023
        seen = system.archive()
        while system.in_queue():
            seen += system.archive()
        assert seen == len(ids)
