"""The errors of a run."""

from __future__ import annotations


class PeerFailed(Exception):
    """A peer failed; its row in the report shows the text. The run continues without it."""


class WrongParameter(Exception):
    """A parameter of ``make bench`` has a wrong value; the text names the value and what is allowed."""
