"""For commands that take long: a progress bar, and an interrupt that leaves nothing half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPTED = 130
"""The exit status that shells give to a command that Ctrl-C ended."""


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """During the block, the first Ctrl-C sets the event, and the second ends the command at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only there
        yield stop
        return

    def interrupt(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def progress_bar(doing: str, limit: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, if that is a terminal; call it with the finished and total numbers."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task(doing, total=limit)

        def move(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield move


__all__ = ["INTERRUPTED", "interruptible", "progress_bar"]
