"""``flask jobs up``: how it prints the output of its processes, and how one process ends."""

from __future__ import annotations

import io
import os
import queue
import re
import sys
import time

from flask_nightshift.up.child import Child, Ended, Output
from flask_nightshift.up.printer import OURSELVES, Printer

MOMENT = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_line_has_the_time_and_the_name_before_it() -> None:
    output = io.StringIO()
    printer = Printer(output)
    printer.add("a-long-name")
    printer.add("web")
    printer.write("web", "one\ntwo\n", MOMENT)
    printer.write(OURSELVES, "three", MOMENT)
    assert output.getvalue().splitlines() == [
        "03:04:05 web         | one",
        "03:04:05 web         | two",
        "03:04:05 system      | three",
    ]


def test_in_a_terminal_each_name_has_a_colour_and_we_have_none() -> None:
    output = Terminal()
    printer = Printer(output)
    names = [f"worker{number}" for number in range(12)]
    for name in names:
        printer.add(name)
    for name in (*names, OURSELVES):
        printer.write(name, "x", MOMENT)
    *theirs, ours = output.getvalue().splitlines()
    colours = [re.findall(r"\033\[([\d;]+)m", line)[1] for line in theirs]
    assert colours[:2] == ["36", "33"]
    assert len(set(colours)) == len(names)
    assert ours == "03:04:05 system   | x"


def test_a_closed_output_does_not_stop_the_processes() -> None:
    output = io.StringIO()
    printer = Printer(output)
    output.close()
    printer.write("web", "one", MOMENT)
    printer.write("web", "two", MOMENT)


def test_a_process_tells_what_it_writes_and_then_its_end() -> None:
    script = "import os, sys; print(os.environ['WHO'], flush=True); print(os.getsid(0), file=sys.stderr); sys.exit(3)"
    events: queue.SimpleQueue[Output | Ended] = queue.SimpleQueue()
    child = Child("it", [sys.executable, "-c", script], {**os.environ, "WHO": "me"})
    assert not child.runs
    child.start(events.put)
    assert child.runs
    told = [events.get(timeout=20) for _ in range(3)]
    assert [each.text for each in told if isinstance(each, Output)] == [b"me\n", b"%d\n" % child.pid]
    assert told[-1] == Ended("it", 3)


def test_a_process_is_killed_with_what_it_left_behind() -> None:
    script = (
        "import subprocess as s; s.Popen(['sleep', '60']); print('up', flush=True); s.run(['sleep', '60'])"
    )
    events: queue.SimpleQueue[Output | Ended] = queue.SimpleQueue()
    child = Child("it", [sys.executable, "-c", script], os.environ)
    child.start(events.put)
    assert isinstance(events.get(timeout=20), Output)
    child.kill()
    assert events.get(timeout=20) == Ended("it", -9)
    child.kill()  # nothing is left
