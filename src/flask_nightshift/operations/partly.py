"""What an action in several parts says if it ends early: what it did before the error."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..text.counts import plural

MOST_NAMED = 5
"""Names that a note has."""


@contextlib.contextmanager
def telling(done: Collection[str], noun: str, how: str) -> Iterator[None]:
    """Have an outage within the block say how many of the ``noun`` are ``done`` by then: they ``had been`` so.

    The block adds to ``done`` as it goes on.
    """
    try:
        yield
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        exc.acted_on = len(done)
        if done:
            names = f": {', '.join(done)}" if len(done) <= MOST_NAMED else ""
            exc.add_note(f"{plural(len(done), noun)} had been {how} before{names}.")
        raise


__all__ = ["telling"]
