"""The peers, found by name: one file per library. To add one, add a file and a line here."""

from __future__ import annotations

from importlib import import_module

from .base import Peer

LIBRARIES = {
    "nightshift": (
        "nightshift-default", "nightshift-base", "nightshift-prefork", "nightshift-threads", "nightshift-solo",
        "nightshift-prefork-logged", "nightshift-traced",
    ),
    "celery": (
        "celery-prefork", "celery-prefork-quorum", "celery-threads", "celery-solo", "lease-transport-prefork",
        "lease-transport-solo",
    ),
    "dramatiq": ("dramatiq",),
    "huey": ("huey",),
    "rq": ("rq",),
    "potatoq": ("potatoq",),
    "saq": ("saq",),
    "arq": ("arq",),
    "taskiq": ("taskiq-list", "taskiq-stream"),
    "by_hand": ("by-hand",),
}  # fmt: skip
"""From a module to the names of its peers, so that the names are known without importing the libraries."""

NAMES = tuple(name for names in LIBRARIES.values() for name in names)
BASE = "nightshift-base"
"""Nightshift of another commit: only with the parameter ``BASE``."""
TRACED = "nightshift-traced"
"""Nightshift with ``otel.instrument()``: see ``tracing.py``."""
COMPARED = "nightshift-default"
"""The peer that is compared with it, and whose figures the goals judge."""
ON_REQUEST = (
    BASE, "nightshift-prefork-logged", TRACED, "celery-threads", "celery-solo", "lease-transport-prefork",
    "lease-transport-solo",
)  # fmt: skip
"""Peers that run only if ``PEERS`` (or ``BASE``) names them."""
DEFAULT = tuple(name for name in NAMES if name not in ON_REQUEST)


def find(name: str) -> Peer:
    """The peer with that name; raises ``ImportError`` when its library is not installed."""
    module = next(module for module, names in LIBRARIES.items() if name in names)
    found = import_module(f"{__name__}.{module}").PEERS
    return next(peer for peer in found if peer.name == name)


__all__ = ["BASE", "COMPARED", "DEFAULT", "LIBRARIES", "NAMES", "ON_REQUEST", "TRACED", "Peer", "find"]
