"""What can go wrong in a run."""

from __future__ import annotations


class PeerFailed(Exception):
    """A peer did not do its part; the text is for its row in the report. The run goes on without it."""


class WrongParameter(Exception):
    """A parameter of ``make bench`` that is not allowed; the text names the value and what is."""
