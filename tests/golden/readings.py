"""The names in logs and metrics, which people and programs read."""

from __future__ import annotations

import json

_OF_A_SLOW_MACHINE = {"lease.not_kept", "lease.kept_again", "worker.database_away", "worker.database_back"}
"""Log events that may also come when a process had to wait for its turn."""


def log_events(log: str) -> str:
    """Logger, level, event and fields of all lines of ours: the union of the fields over the lines of an event."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for line in log.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        logger, event = str(entry.pop("logger", "")), str(entry.pop("event", ""))
        if logger.startswith("flask_nightshift") and event not in _OF_A_SLOW_MACHINE:
            found.setdefault((logger, str(entry.pop("level")), event), set()).update(entry)
    return "\n".join(f"{' '.join(key)}: {', '.join(sorted(fields))}" for key, fields in sorted(found.items()))


def families(exposition: str) -> str:
    """HELP and TYPE of each metric, and the labels of its samples."""
    lines = []
    for line in exposition.splitlines():
        if not line.startswith("#"):
            name, _, rest = line.rpartition(" ")[0].partition("{")
            labels = [label.partition("=")[0] for label in rest.rstrip("}").split(",") if label]
            line = f"{name}{{{','.join(labels)}}}"
        if line not in lines:
            lines.append(line)
    return "\n".join(lines)
