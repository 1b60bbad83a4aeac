"""Replaces what differs from run to run: ids, times, hosts, process ids, ports, paths, versions, measured seconds.

Ids are numbered by their first appearance in a value, so equal ids stay recognisable. Times become steps of ten minutes
from now, so an hour's delay stays visible, and a slow machine does not matter.
"""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

STEP = 600
"""Seconds."""
FAR = 7 * 86_400
"""Seconds from now beyond which a time is one that a test has given, and stays."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?")
_HERE = re.escape(socket.gethostname())
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"gen\d+@" + _HERE), "gen<pid>@<host>"),
    (re.compile(r"@" + _HERE + r"\b"), "@<host>"),
    (re.compile(_HERE + r"\.\d+\.[0-9a-f]{8}\b"), "<consumer>"),
    (re.compile(r"(?<=publisher:)[0-9a-f]{16}\b"), "<publisher>"),
    (re.compile(r"\b[0-9a-f]{16}\.\d+\.\d+\b"), "<delivery tag>"),
    (re.compile(r"^[0-9a-f]{8}(?= replayed)", re.MULTILINE), "<end of an id>"),
    (re.compile(r"^nst_[0-9a-f]{12}_[0-9a-f]{64}$"), "<token>"),
    (re.compile(r"^[0-9a-f]{12}$"), "<id of a token>"),
    (re.compile(r"\b\d+(?:\.\d+)?(?= (?:s ago|ms|MiB)\b)"), "<number>"),
    (re.compile(r"\b(Valkey|Redis|RabbitMQ) \d+(?:\.\d+)+"), r"\1 <version>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:<port>"),
    (re.compile(r"(?<=:<port>/)v[0-9a-f]{8}\b"), "<vhost>"),
    (re.compile(r"^(?:[01]\.){28}"), "<bits of the delay>."),
)


def _operator(value: str) -> str:
    return value.replace(f"{getpass.getuser()}@", "<user>@").replace(socket.gethostname(), "<host>")


_VALUES: dict[str, Callable[[Any], Any]] = {
    "by": _operator,
    "created_by": _operator,
    "expiration": lambda value: f"<{round(int(value) / 60_000)} min>",
    "fingerprint": lambda _: "<fingerprint>",
    "hostname": lambda _: "<host>",
    "left_out": lambda _: "<next>",
    "memory_bytes": lambda _: "<bytes>",
    "next_at": lambda _: "<next>",
    "pid": lambda _: "<pid>",
    "start": lambda _: "<hour>",
    "skips_until": lambda _: "<next>",
    "version": lambda _: "<version>",
    "traceback": lambda value: f"… {value.strip().splitlines()[-1]}" if value else value,
}
"""Members of an object that are replaced whole, by name."""
_SECONDS = ("runtime", "wait")


class Normal:
    """Makes values comparable; ``paths`` are folders of this run, with the word to put for each."""

    def __init__(self, paths: dict[str, str] | None = None) -> None:
        self._paths = paths or {}

    def __call__(self, value: Any, *, measured: bool = False) -> Any:
        """``value`` without what differs; ``measured``: all its floating-point numbers do."""
        return _Pass(self._paths, measured).of(value)


class _Pass:
    """One value with its own numbering of ids."""

    def __init__(self, paths: dict[str, str], measured: bool) -> None:
        self._paths, self._measured = paths, measured
        self._ids: dict[str, str] = {}
        self._now = datetime.now(UTC)

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.of(key): self._member(key, inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(inner) for inner in value]
        if isinstance(value, str):
            return self._text(value)
        return "<number>" if self._measured and isinstance(value, float) else value

    def _member(self, key: Any, value: Any) -> Any:
        if key in _VALUES and value is not None and not isinstance(value, (dict, list)):
            return _VALUES[key](value)
        if key == "counts" and isinstance(value, list):  # of a trend, whose buckets move on
            return f"<{sum(value)} in {len(value)}>"
        return "<seconds>" if key in _SECONDS and isinstance(value, float) else self.of(value)

    def _text(self, text: str) -> str:
        for path, word in self._paths.items():
            text = text.replace(path, word)
        for pattern, word in _TEXTS:
            text = pattern.sub(word, text)
        text = _TIME.sub(self._time, text)
        return _ID.sub(lambda found: self._ids.setdefault(found[0], f"<id {len(self._ids) + 1}>"), text)

    def _time(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0])
        zone = "" if moment.tzinfo else " without zone"
        away = (moment.replace(tzinfo=moment.tzinfo or UTC) - self._now).total_seconds()
        steps = round(away / STEP)
        if abs(away) > FAR:
            return found[0]
        return f"<now{f' {steps * STEP // 60:+} min' if steps else ''}{zone}>"
