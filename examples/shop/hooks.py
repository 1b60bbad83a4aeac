"""Calling a URL that a stranger gave us.

What is kept: only ``http`` and ``https``; only public addresses, judged after the name was resolved; and the
address that was judged is the one that is called, so that a name that resolves differently a moment later
(DNS rebinding) changes nothing. Redirects are not followed, proxies of the environment not used.
"""

from __future__ import annotations

import email.utils
import ipaddress
import logging
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from flask_nightshift import PermanentFailure

logging.getLogger("httpx").setLevel(
    logging.WARNING
)  # what it says of each call, the job's own lines say better

RETRY_STATUS = frozenset({408, 429})
"""Client errors that are about the moment, not about the request."""

PRIVATE_NAMES = (".localhost", ".local", ".internal")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HookRefused(PermanentFailure):
    """The call cannot be made, now or later. ``status`` is the partner's answer, if there was one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HookFailed(Exception):
    """The partner did not take it this time. ``retry_after``: the seconds it asks us to wait, if it does."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def check(url: str, *, allow_private: bool = False) -> httpx.URL:
    """Parse ``url`` and refuse what can be refused without asking a name server; raises ``HookRefused``."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise HookRefused("it is not a URL; give one such as https://partner.example/hooks") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise HookRefused("only http:// and https:// with a host are called")
    if parsed.userinfo:
        raise HookRefused("leave the name and password out of the URL")
    if parsed.port is not None and not 1 <= parsed.port <= 65_535:
        raise HookRefused("a port is between 1 and 65535")
    try:
        # also what only looks like a name: 2130706433 and 0x7f.1 are 127.0.0.1
        _refuse_private(_lookup(parsed, socket.AI_NUMERICHOST), allow_private)
    except socket.gaierror:  # a name, then
        if not allow_private and f".{parsed.host}".rstrip(".").endswith(PRIVATE_NAMES):
            raise HookRefused(f"{parsed.host} is a private name; give a public one") from None
    return parsed


def deliver(
    url: str, payload: Any, *, key: str, timeout: float, allow_private: bool = False, max_wait: float = 3600
) -> int:
    """POST ``payload`` as JSON with ``Idempotency-Key: key``; returns the status, which is 2xx.

    ``timeout`` in seconds is for connecting and for each read. Raises ``HookRefused`` for a forbidden URL or
    address, a redirect, or a final answer (4xx but 408 and 429), and ``HookFailed`` for the rest: a timeout,
    no connection, no such name, 408, 429, 5xx; its ``retry_after`` is at most ``max_wait`` seconds.
    """
    parsed = check(url, allow_private=allow_private)
    request = {
        "json": payload,
        "headers": {
            "Host": parsed.netloc.decode("ascii"),
            "Idempotency-Key": key,
            "User-Agent": "night-shop/1",
            "Accept-Encoding": "identity",
        },
        # the certificate is the name's, not the address's
        "extensions": {"sni_hostname": parsed.raw_host.decode("ascii")},
    }
    with httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False) as client:
        problem: Exception | None = None
        for address in _addresses(parsed, allow_private):
            try:
                with client.stream("POST", parsed.copy_with(host=str(address)), **request) as response:
                    return _judge(response, max_wait)
            except httpx.ConnectError as exc:
                problem = exc  # the next address may answer
            except httpx.TransportError as exc:
                problem = exc
                break
    raise HookFailed(f"{parsed.host}: {type(problem).__name__}: {problem}") from problem


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait in seconds that ``Retry-After`` asks for (as seconds or an HTTP date); None if it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _judge(response: httpx.Response, max_wait: float) -> int:
    """The status when the partner took it."""
    status = response.status_code
    if response.is_success:
        return status
    said = "".join(filter(str.isprintable, next(response.iter_raw(300), b"").decode("utf-8", "replace")))
    text = f"the partner answered {status} {response.reason_phrase}" + (f": {said}" if said else "")
    if response.is_redirect:
        raise HookRefused(f"the partner answered {status}; redirects are not followed", status)
    if status >= 500 or status in RETRY_STATUS:
        wait = retry_after(response.headers, datetime.now(UTC))
        raise HookFailed(text, status, None if wait is None else min(wait, max_wait))
    raise HookRefused(text, status)


def _addresses(url: httpx.URL, allow_private: bool) -> Iterator[Address]:
    try:
        found = _lookup(url)
    except (socket.gaierror, UnicodeError) as exc:
        raise HookFailed(f"the name {url.host} cannot be resolved: {exc}") from exc
    _refuse_private(found, allow_private)
    yield from found


def _lookup(url: httpx.URL, flags: int = 0) -> list[Address]:
    """The addresses of the URL's host, each once, in the resolver's order."""
    host = url.raw_host.decode("ascii")
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))


def _refuse_private(addresses: list[Address], allowed: bool) -> None:
    """One private address among them is enough: which of them is called must not matter."""
    for address in addresses:
        if not allowed and not _public(address):
            raise HookRefused(
                f"{address} is not a public address; for a partner on your own machine "
                "start the shop with SHOP_ALLOW_PRIVATE_HOOKS=1"
            )


def _public(address: Address) -> bool:
    inner = _embedded(address)
    return address.is_global and not address.is_multicast and (inner is None or _public(inner))


def _embedded(address: Address) -> Address | None:
    """The IPv4 address inside an IPv6 one that is only a way to reach it (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
