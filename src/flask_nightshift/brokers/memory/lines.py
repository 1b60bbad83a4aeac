"""The ready and the delayed messages of ``memory://``; the server's lock guards them.

A ready message has a place in the order in which all became ready. Within a queue and a priority the places ascend. A
message that comes back to the head of its queue gets a place before all others, so it comes before messages of other
queues, too.
"""

from __future__ import annotations

import itertools
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from heapq import merge

from .stored import Stored

_Line = deque[tuple[int, Stored]]


class Ready:
    """The ready messages of all queues."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[int, _Line]] = defaultdict(lambda: defaultdict(deque))
        self._last, self._first = itertools.count(1), itertools.count(0, -1)

    def append(self, stored: Stored) -> None:
        """Put a message at the end of its queue."""
        self._lines[stored.queue][stored.priority].append((next(self._last), stored))

    def put_first(self, stored: Stored) -> None:
        """Put a message at the head of its queue."""
        self._lines[stored.queue][stored.priority].appendleft((next(self._first), stored))

    def take(self, queue: str) -> Stored | None:
        """Remove the next message of ``queue``; None if there is none."""
        for _, line in sorted(self._lines.get(queue, {}).items()):
            if line:
                return line.popleft()[1]
        return None

    def remove(self, stored: Stored) -> bool:
        """Remove a message; False if it is not ready (any more)."""
        line = self._lines.get(stored.queue, {}).get(stored.priority, ())
        entry = next((each for each in line if each[1] == stored), None)
        if entry is not None:
            self._lines[stored.queue][stored.priority].remove(entry)
        return entry is not None

    def clear(self, queue: str) -> list[Stored]:
        """Remove the messages of ``queue``, and return them."""
        return [stored for line in self._lines.pop(queue, {}).values() for _, stored in line]

    def count(self, queue: str) -> int:
        """The number of messages of ``queue``."""
        return sum(map(len, self._lines.get(queue, {}).values()))

    def of(self, queue: str) -> list[Stored]:
        """The messages of ``queue``, next first."""
        return [stored for _, line in sorted(self._lines.get(queue, {}).items()) for _, stored in line]

    def __iter__(self) -> Iterator[Stored]:
        """All messages, in no order."""
        lines = (line for of_queue in self._lines.values() for line in of_queue.values())
        return (stored for line in lines for _, stored in line)

    def in_order(self) -> Iterator[Stored]:
        """All messages: by priority, and then in the order in which they became ready."""
        lines: dict[int, list[_Line]] = defaultdict(list)
        for of_queue in self._lines.values():
            for priority, line in of_queue.items():
                lines[priority].append(line)
        for _, equal in sorted(lines.items()):
            for _, stored in merge(*equal, key=_place):
                yield stored

    def names(self) -> set[str]:
        """The queues that have messages."""
        return {name for name, lines in self._lines.items() if any(lines.values())}

    def age(self, seconds: float) -> None:
        """Let jobs that expire do so ``seconds`` sooner."""
        for lines in self._lines.values():
            for priority, line in lines.items():
                lines[priority] = deque((place, stored.older(seconds)) for place, stored in line)


class Delayed:
    """The delayed messages of all queues, with the time when each is due, in seconds since 1970."""

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[float, int, Stored]]] = defaultdict(list)

    def add(self, stored: Stored, due: float) -> None:
        """Delay a message until ``due``."""
        insort(self._lines[stored.queue], (due, stored.number, stored))

    def take_due(self, now: float) -> list[Stored]:
        """Remove the messages that are due, and return them."""
        taken = []
        for line in self._lines.values():
            while line and line[0][0] <= now:
                taken.append(line.pop(0))
        return [stored for _, _, stored in sorted(taken)]

    def remove(self, stored: Stored) -> bool:
        """Remove a message; False if it is not delayed (any more)."""
        line = self._lines.get(stored.queue, [])
        left = [entry for entry in line if entry[2] != stored]
        found = len(left) < len(line)
        line[:] = left
        return found

    def clear(self, queue: str) -> list[Stored]:
        """Remove the messages of ``queue``, and return them."""
        return [stored for _, _, stored in self._lines.pop(queue, ())]

    def count(self, queue: str) -> int:
        """The number of messages of ``queue``."""
        return len(self._lines.get(queue, ()))

    def of(self, queue: str) -> list[tuple[float, Stored]]:
        """The messages of ``queue`` as ``(due, message)``, soonest first."""
        return [(due, stored) for due, _, stored in self._lines.get(queue, ())]

    def __iter__(self) -> Iterator[Stored]:
        """All messages, in no order."""
        return (stored for line in self._lines.values() for _, _, stored in line)

    def in_order(self) -> list[tuple[float, Stored]]:
        """All messages as ``(due, message)``, soonest first."""
        return [(due, stored) for due, _, stored in sorted(itertools.chain(*self._lines.values()))]

    def next_due(self, wanted: Callable[[Stored], bool] = lambda _: True) -> float | None:
        """When the first message is due for which ``wanted`` is true; None if there is none."""
        firsts = (next((due for due, _, each in line if wanted(each)), None) for line in self._lines.values())
        return min((due for due in firsts if due is not None), default=None)

    def names(self) -> set[str]:
        """The queues that have messages."""
        return {name for name, line in self._lines.items() if line}

    def age(self, seconds: float) -> None:
        """Let all delays, and jobs that expire, end ``seconds`` sooner."""
        for line in self._lines.values():
            line[:] = [(due - seconds, number, stored.older(seconds)) for due, number, stored in line]


def _place(entry: tuple[int, Stored]) -> int:
    return entry[0]


__all__ = ["Delayed", "Ready"]
