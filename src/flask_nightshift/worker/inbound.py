"""Checks an incoming message before Celery sees it: is it a job, or a message on which Celery would fail?

It settles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import inf
from typing import Any

from ..domain.job import utcnow
from ..message import headers as message_headers
from ..message.arguments import Texts

DUE_TOLERANCE = 1.0
"""Seconds. The worker waits for a shorter delay in memory, because RabbitMQ counts whole seconds."""
KINDS: dict[str, tuple[type, ...]] = {
    "retries": (int,),
    "eta": (str, datetime),
    "expires": (str, datetime),
    "shadow": (str,),
    "stamped_headers": (list, tuple),
    "stamps": (dict,),
}
"""The types of the headers that Celery reads in the worker's main process."""

_SELDOM = frozenset(KINDS) - {"stamps"}
"""Those that an ordinary message does not have."""


class Misshapen(ValueError):
    """A message that can be decoded but is not a job."""


Misshapen.__module__ = (
    "flask_nightshift.worker.consumer"  # dead letters and their fingerprints keep this name
)


def when_due(message: Any, keeps_delays: bool) -> datetime | None:
    """When an early message is due; None if it is due now, and then its ``eta`` is removed.

    Celery would set a timer and prefetch one more message for each that waits. ``keeps_delays``: whether the broker can
    hold a delayed message.
    """
    headers = message.headers
    served = (message.delivery_info or {}).get("eta")  # the lease transport has waited and moved it there
    if served:
        headers[message_headers.HISTORY] = {**message_headers.history(headers), "due": served}
    eta = headers.get("eta")
    due = message_headers.parse_time(eta) if eta is not None else None
    if due is None:
        return None
    early = (due - utcnow()).total_seconds()
    if early > DUE_TOLERANCE:
        return due if keeps_delays else None
    if early <= 0:
        headers["eta"] = None
        headers[message_headers.HISTORY] = {**message_headers.history(headers), "due": due.isoformat()}
    return None


def hide_arguments(message: Any, texts: Callable[[str], Texts]) -> None:
    """Hide arguments in the short texts of a message that has passed ``check`` and is of another producer.

    Its body stays as it is. ``texts`` tells how the arguments of a task are shown.
    """
    headers, payload = message.headers, message.payload
    if "task" in headers and isinstance(payload, (list, tuple)):
        texts(headers["task"]).hide(headers, payload[0], payload[1])


def unproven(message: Any) -> bool:
    """Whether the job began before and its worker ended without settling it."""
    headers = message.headers
    return "x-delivery-count" in headers and bool(headers.get("x-delivery-count"))


def check(message: Any) -> None:
    """Raise ``Misshapen`` if Celery would fail on a protocol 2 message; decoding errors pass through."""
    headers = message.headers
    if type(headers) is not dict and not isinstance(headers, Mapping):  # ``isinstance`` takes longer
        raise Misshapen(f"its headers are {type(headers).__name__}, not a mapping")
    if "task" not in headers:
        return
    for name in ("id", "task"):
        if not isinstance(headers.get(name), str) or not headers[name]:
            raise Misshapen(f"its header {name!r} is {headers.get(name)!r}, not a text")
    stamps = headers.get("stamps")
    if not _SELDOM.isdisjoint(headers) or not (stamps is None or type(stamps) is dict):
        _check_values(headers)
    limits = headers.get("timelimit")
    if limits is not None and not _are_limits(limits):
        raise Misshapen(f"its header 'timelimit' is {limits!r}, not two numbers")
    _check_body(message.payload)


def _check_values(headers: Mapping[str, Any]) -> None:
    for name, kinds in KINDS.items():
        value = headers.get(name)
        if value is not None and not isinstance(value, kinds):
            raise Misshapen(f"its header {name!r} is {_briefly(value)}, not {kinds[0].__name__}")
    if not 0 <= (headers.get("retries") or 0) <= message_headers.MOST:
        raise Misshapen(f"its header 'retries' is {_briefly(headers['retries'])}")


def _check_body(payload: Any) -> None:
    if not isinstance(payload, (list, tuple)) or len(payload) != 3:
        if isinstance(payload, Mapping) and "args" in payload:
            return  # a mix of protocols 1 and 2, which Celery checks
        raise Misshapen(f"its body is {_shape(payload)}, not [args, kwargs, embed]")
    args, kwargs, embed = payload
    if not isinstance(args, (list, tuple)) or not (type(kwargs) is dict or isinstance(kwargs, Mapping)):
        raise Misshapen(
            f"its args and kwargs are {_shape(args)} and {_shape(kwargs)}, not a list and a mapping"
        )
    if embed is not None and type(embed) is not dict and not isinstance(embed, Mapping):
        raise Misshapen(f"its embed is {_shape(embed)}, not a mapping")


def _are_limits(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple)) and len(value) == 2 and _is_limit(value[0]) and _is_limit(value[1])
    )


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and 0 <= value < inf)


def _shape(value: Any) -> str:
    """The type and size of ``value``, without its content, because arguments stay out of logs."""
    kind = type(value).__name__
    return f"{kind} of {len(value)}" if isinstance(value, (list, tuple, Mapping)) else kind


def _briefly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
