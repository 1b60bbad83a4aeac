"""The peers, found by name: one file per library. To add one, add a file and a line here."""

from __future__ import annotations

from importlib import import_module

from .base import Peer

LIBRARIES = {
    "nightshift": ("nightshift-prefork", "nightshift-threads", "nightshift-solo", "nightshift-prefork-logged"),
    "celery": (
        "lease-transport-prefork", "lease-transport-solo", "celery-prefork", "celery-threads", "celery-solo",
        "celery-prefork-quorum",
    ),
    "dramatiq": ("dramatiq",),
    "huey": ("huey",),
    "rq": ("rq",),
    "taskiq": ("taskiq-list", "taskiq-stream"),
    "by_hand": ("by-hand",),
}  # fmt: skip
"""From a module to the names of its peers, so that the names are known without importing the libraries."""

NAMES = tuple(name for names in LIBRARIES.values() for name in names)


def find(name: str) -> Peer:
    """The peer with that name; raises ``ImportError`` when its library is not installed."""
    module = next(module for module, names in LIBRARIES.items() if name in names)
    found = import_module(f"{__name__}.{module}").PEERS
    return next(peer for peer in found if peer.name == name)


__all__ = ["LIBRARIES", "NAMES", "Peer", "find"]
