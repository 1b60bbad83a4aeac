"""Processes whose clock is wrong, by libfaketime; the clock can be set while they run."""

from __future__ import annotations

from pathlib import Path

from servers import missing


class WrongClock:
    """A clock that is ``seconds`` ahead of the machine's; negative: behind."""

    def __init__(self, folder: Path, name: str, seconds: float = 0.0) -> None:
        self._library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if self._library is None:
            missing("libfaketime", "libfaketime")
        self._file = folder / f"{name}.clock"
        self.set(seconds)

    def set(self, seconds: float) -> None:
        """Set it; a process sees that within a tenth of a second."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+}s\n")
        written.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this clock; its monotonic clock stays."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "0.1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


__all__ = ["WrongClock"]
