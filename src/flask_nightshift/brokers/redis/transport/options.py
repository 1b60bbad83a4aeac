"""The transport options that are ours, from ``broker_transport_options``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ....message.burial import DEAD_QUEUE


@dataclass(frozen=True, slots=True)
class Options:
    """How leases behave. Times in seconds."""

    lease_seconds: float = 15.0
    """A consumer that has not renewed for so long is gone, whatever its connection says."""
    lease_renew_seconds: float = 3.0
    delivery_limit: int = 5
    """Deliveries of one message before it is buried."""
    dead_letter_queue: str = DEAD_QUEUE

    @classmethod
    def of(cls, transport_options: dict[str, Any]) -> Options:
        """Those among ``transport_options`` that are ours; raises ``ValueError`` for one that makes no sense."""
        names = [item.name for item in fields(cls)]
        options = cls(**{name: transport_options[name] for name in names if name in transport_options})
        if not 0 < options.lease_renew_seconds < options.lease_seconds:
            raise ValueError(
                f"lease_renew_seconds={options.lease_renew_seconds!r} must be above 0 and "
                f"below lease_seconds={options.lease_seconds!r}"
            )
        if options.delivery_limit < 1:
            raise ValueError(f"delivery_limit={options.delivery_limit!r} must be 1 or more")
        return options
