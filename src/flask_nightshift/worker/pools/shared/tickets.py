"""Tickets: one word in shared memory for each job that was handed out, by which the parent can take the job back.

A job gets a new ticket each time that it is handed out, so a child that held an old one for long starts nothing by it.
The parent writes the ticket before it sends the job and voids it to take the job back. A child looks after it has
marked the ticket in its slot, and refuses a void one.
"""

from __future__ import annotations

from .memory import shared_words

TICKETS = 2**15
"""Tickets that can be valid at a time. Two tickets with one word are never in the queue together (``Pool``)."""


class Tickets:
    """The words of all tickets; a ticket is a number from 1 on."""

    def __init__(self) -> None:
        self._words = shared_words(TICKETS)

    def issue(self, ticket: int) -> None:
        """Make ``ticket`` valid; the older one that shares its word is void from now on."""
        self._words[ticket % TICKETS] = ticket

    def void(self, ticket: int) -> None:
        """From now on, no child that has not marked ``ticket`` starts its job."""
        if self._words[ticket % TICKETS] == ticket:
            self._words[ticket % TICKETS] = 0

    def is_valid(self, ticket: int) -> bool:
        """Whether the job with ``ticket`` may start."""
        return self._words[ticket % TICKETS] == ticket
