"""What the renewing thread asks of its lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from redis import ConnectionPool, Redis

from .acks import Acks
from .buffer import Buffer
from .keys import KeySpace
from .options import Options


class Renewable(Protocol):
    """A lease that is kept by renewing it."""

    id: str
    wake: str
    lost: bool
    acks: Acks
    buffer: Buffer[Any] | None
    pool: ConnectionPool
    keys: KeySpace
    options: Options
    on_change: Callable[[], None]

    @property
    def detached(self) -> bool:
        """Whether the connection that filled it is gone."""

    def renew(self, client: Redis, client_id: int | str, *, register: bool = False) -> bool:
        """Put the deadline off; False if the lease was taken."""

    def pulse(self, client: Redis, client_id: int | str, *, others: bool) -> tuple[int, dict[str, str]]:
        """Put the deadline off, ring where there is something, and look at the other consumers."""

    def flush(self, client: Redis) -> None:
        """Send what is waiting to be acknowledged."""

    def return_buffered(self, client: Redis) -> None:
        """Return what waits in the buffer."""

    def settle(self, client: Redis) -> int:
        """Return what is not held any more; how many messages still are."""


__all__ = ["Renewable"]
