"""No fork while SQLite is at work.

A worker forks children at any time, and threads of it write history. The C library of SQLite holds mutexes
while it works; a child that is forked at that moment inherits them locked, and hangs when it opens a database.
So a fork waits for the transaction that is under way in this process, and the other way round.
"""

from __future__ import annotations

import os
import threading

SQLITE = threading.RLock()
"""Held for the length of every SQLite transaction of ours in this process."""

os.register_at_fork(before=SQLITE.acquire, after_in_parent=SQLITE.release, after_in_child=SQLITE.release)
