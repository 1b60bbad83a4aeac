"""Checks whether addresses are public, and resolves names, before we call a URL that a stranger gave us."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The global unicast addresses of IPv6. Others are local to a machine or site, or a way to reach IPv4."""
_NOT_PUBLIC = tuple(
    # Python 3.11 and 3.12 do not list all of these
    map(ipaddress.ip_network, ("192.0.0.0/24", "2001:2::/48", "2001:db8::/32", "3fff::/20"))
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether ``address`` is a public one: not private, local, reserved or multicast.

    If an IPv6 address is a way to reach an IPv4 one (mapped, NAT64, 6to4, Teredo), both must be public.
    """
    inner = _embedded(address)
    if inner is not None and not is_public(inner):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return inner is not None
    listed = any(address in network for network in _NOT_PUBLIC if network.version == address.version)
    return address.is_global and not address.is_multicast and not listed


def _embedded(address: Address) -> Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def literal(host: str) -> Address | None:
    """The address that ``host`` spells in any format the system accepts (``0x7f.1``, too); None for a name."""
    try:
        return _lookup(host, socket.AI_NUMERICHOST)[0]
    except (OSError, UnicodeError):
        return None


def resolve(host: str, timeout: float) -> list[Address]:
    """The addresses of ``host`` in the resolver's order; raises ``OSError``, also after ``timeout`` seconds."""
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_lookup(host))
        except (OSError, UnicodeError) as exc:
            answers.put(OSError(str(exc)))

    # in a thread, because the system's resolver has no timeout
    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, timeout))
    except queue.Empty:
        raise TimeoutError(f"no name server answered within {timeout:.1f} s") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _lookup(host: str, flags: int = 0) -> list[Address]:
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))
