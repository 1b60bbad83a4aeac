"""Calls a URL that a stranger gave us.

The rules: only ``http`` and ``https``; only public addresses, checked after the name is resolved (``outbound.py``); one
deadline for the whole call; no redirects; no proxies from the environment.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx

from flask_nightshift import PermanentFailure

from .addresses import is_public, literal
from .outbound import Deadline, NotCallable, Outbound

RETRY_STATUS = frozenset({408, 429})
"""Client errors that a later attempt may not get (request timeout, too many requests)."""

PRIVATE_NAMES = (".localhost", ".local", ".internal")

_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}", re.IGNORECASE
)
_TROUBLE = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


class HookRefused(PermanentFailure):
    """The call cannot succeed, now or later. ``status`` is the partner's answer, or None."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HookFailed(Exception):
    """The call failed this time. ``retry_after``: the seconds that the partner asks us to wait, or None."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def check(url: str, *, allow_private: bool = False) -> httpx.URL:
    """Parse ``url`` and check all that needs no name server; raises ``HookRefused``."""
    parsed, host = _parse(url)
    if parsed.scheme not in {"http", "https"} or not host:
        raise HookRefused("only http:// and https:// with a host are called")
    if parsed.userinfo:
        raise HookRefused("leave the name and password out of the URL")
    if parsed.port is not None and not 1 <= parsed.port <= 65_535:
        raise HookRefused("a port is between 1 and 65535")
    address = literal(host)  # not only dotted ones: 2130706433 and 0x7f.1 are 127.0.0.1
    if address is not None:
        if not allow_private and not is_public(address):
            raise HookRefused(
                "this is not a public address; for a partner on your own machine "
                "start the shop with SHOP_ALLOW_PRIVATE_HOOKS=1"
            )
    elif not _NAME.fullmatch(host.removesuffix(".")):
        raise HookRefused("the host is no name; give one such as partner.example")
    elif not allow_private and f".{host}".rstrip(".").lower().endswith(PRIVATE_NAMES):
        raise HookRefused(f"{host} is a private name; give a public one")
    return parsed


def deliver(
    url: str, payload: Any, *, key: str, timeout: float, allow_private: bool = False, max_wait: float = 3600
) -> int:
    """POST ``payload`` as JSON with ``Idempotency-Key: key``; returns the status, which is 2xx.

    ``timeout`` in seconds covers the whole call, from name resolution to the answer. Raises ``HookRefused`` for a
    forbidden URL or address, a redirect, or a final answer (4xx except 408 and 429). Raises ``HookFailed`` for other
    failures: a timeout, no connection, a name without a public address, 408, 429, 5xx. Its ``retry_after`` is at most
    ``max_wait`` seconds.
    """
    parsed = check(url, allow_private=allow_private)
    target = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        "User-Agent": "night-shop/1",
        "Accept-Encoding": "identity",
    }
    host = parsed.raw_host.decode("ascii")
    backend = Outbound(Deadline(timeout), allow_private=allow_private)
    try:
        with (
            httpcore.ConnectionPool(network_backend=backend) as pool,
            pool.stream(
                "POST", target, headers=[*headers.items()], content=json.dumps(payload).encode()
            ) as response,
        ):
            return _judge(response, max_wait)
    except NotCallable:
        # strangers read it, so the text must not reveal whether the name is unknown or leads to a private address
        raise HookFailed(f"{host} leads to no public address just now") from None
    except _TROUBLE as exc:
        raise HookFailed(f"{host}: {type(exc).__name__}: {exc}") from exc


def _parse(url: str) -> tuple[httpx.URL, str]:
    """The URL and its host in ASCII."""
    try:
        parsed = httpx.URL(url)
        parsed.host  # noqa: B018 - raises for a host that decodes to nothing, such as xn--
        return parsed, parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, TypeError, ValueError):  # the errors of IDNA are ValueErrors
        raise HookRefused("it is not a URL; give one such as https://partner.example/hooks") from None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait in seconds from ``Retry-After`` (seconds or an HTTP date); None if missing or invalid."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # OverflowError: an impossible date or zone
        return None


def _judge(response: httpcore.Response, max_wait: float) -> int:
    """The status if it is 2xx; raises ``HookRefused`` or ``HookFailed`` for others."""
    status = response.status
    if 200 <= status < 300:
        return status
    said = _readable(next(iter(response.iter_stream()), b"")[:300])
    reason = _readable(response.extensions.get("reason_phrase", b""))[:100]
    text = f"the partner answered {status} {reason}".rstrip() + (f": {said}" if said else "")
    if 300 <= status < 400:
        raise HookRefused(f"the partner answered {status}; redirects are not followed", status)
    if status >= 500 or status in RETRY_STATUS:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        wait = retry_after(headers, datetime.now(UTC))
        raise HookFailed(text, status, None if wait is None else min(wait, max_wait))
    raise HookRefused(text, status)


def _readable(data: bytes) -> str:
    return "".join(filter(str.isprintable, data.decode("utf-8", "replace")))
