"""Taking dead letters out of the list ``nightshift.dead`` on approval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from ...domain.job import DeadLetter
from ...errors import BrokerUnavailable
from ...message.burial import DEAD_QUEUE
from ..base import PendingDeadLetter
from ..failures import errors
from ..reading import read_dead_letter
from .transport.keys import KeySpace


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dead letter that still stands in its list as ``raw``."""

    letter: DeadLetter
    client: redis.Redis
    key: str
    raw: bytes
    fail: Callable[[BaseException], BrokerUnavailable]

    def done(self) -> None:
        """Remove this very item, if another worker has not; raises ``BrokerUnavailable``."""
        try:
            self.client.lrem(self.key, -1, self.raw)  # type: ignore[arg-type]  # the stubs know only str
        except errors() as exc:
            raise self.fail(exc) from exc


_OLDEST = """
-- KEYS: the list. ARGV: how many at most, bytes after which no further one is read. Gives the oldest, oldest first.
local found, size = {}, 0
for at = 1, tonumber(ARGV[1]) do
  local raw = redis.call('LINDEX', KEYS[1], -at)
  if not raw then break end
  found[at] = raw
  size = size + #raw
  if size >= tonumber(ARGV[2]) then break end
end
return found
"""


def take(
    client: redis.Redis,
    keys: KeySpace,
    limit: int,
    max_bytes: int,
    fail: Callable[[BaseException], BrokerUnavailable],
) -> list[PendingDeadLetter]:
    """The ``limit`` oldest dead letters, without removing them: several workers may get the same ones."""
    taken: list[PendingDeadLetter] = []
    size = 0
    lists = keys.ready_lists(DEAD_QUEUE)
    for key in lists if client.exists(*lists) else ():
        if len(taken) < limit and size < max_bytes:
            raws: Any = client.eval(_OLDEST, 1, key, limit - len(taken), max_bytes - size)
            taken += [_Taken(read_dead_letter(raw), client, key, raw, fail) for raw in raws]
            size += sum(map(len, raws))
    return taken
