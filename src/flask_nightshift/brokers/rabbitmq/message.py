"""A message as a worker gets it: kombu's, but quick to decode where its body is plain JSON."""

from __future__ import annotations

import contextlib
from typing import Any

from kombu.transport import pyamqp

from ..connections import ack_log_error
from ..plain_json import content


class JobMessage(pyamqp.Message):
    """kombu's message; ``decode()`` and ``payload`` give and raise what kombu's do."""

    ack_log_error = ack_log_error

    def _decode(self) -> Any:
        with contextlib.suppress(ValueError):
            return content(self)
        return super()._decode()


__all__ = ["JobMessage"]
