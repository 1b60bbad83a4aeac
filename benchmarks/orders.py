"""Gives orders to the process that enqueues (see ``producer``)."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

from .errors import PeerFailed
from .peers import Peer
from .processes import Tree


class Producer:
    """The process that enqueues."""

    def __init__(self, peer: Peer, env: dict[str, str], log: Path) -> None:
        words = ["python", "-m", "benchmarks.producer", peer.name]
        self.tree = Tree(words, env, log, peer.venv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **order: Any) -> Any:
        """Give an order and wait for the answer; raises ``PeerFailed``."""
        popen = self.tree.popen
        assert popen.stdin is not None
        assert popen.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            popen.stdin.write(json.dumps(order) + "\n")
            popen.stdin.flush()
        line = popen.stdout.readline()
        if not line:
            raise PeerFailed(f"enqueuing ended: {self.tree.last_line()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"enqueuing: {answer['error']}")
        return answer["value"]
