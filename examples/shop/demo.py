"""A night at the shop in a minute: ``make demo``.

It starts a real stack, and prints each sentence after it has checked that it is true. A check that fails ends the
story with exit code 1.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .stage import Stage, wait_for

POLICY = '{"retry_backoff": 1, "retry_jitter": false, "max_retries": 3}'
"""Shorter waits for the demo; the default starts at 2 s, with jitter, and retries five times."""


class NotTrue(Exception):
    """A check of the story failed."""


def tell() -> int:
    """Tell the story; returns the exit code."""
    console = Console(highlight=False)
    stage = Stage(Path(tempfile.mkdtemp(prefix="nightshift-demo-")), NIGHTSHIFT_TASK_DEFAULTS=POLICY)
    started = time.monotonic()
    try:
        Story(console, stage).tell()
    except (NotTrue, RuntimeError, OSError, ValueError, LookupError) as exc:
        console.print(f"\n[bold red]The story ends here:[/] {click.unstyle(str(exc))}", markup=True)
        console.print(f"What the processes said: {stage.log}", soft_wrap=True)
        return 1
    finally:
        stage.stop()
    shutil.rmtree(stage.home, ignore_errors=True)
    console.print(f"[dim]All of it happened, in {time.monotonic() - started:.0f} s.[/]\n")
    return 0


class Story:
    """The chapters, in order."""

    def __init__(self, console: Console, stage: Stage) -> None:
        self.console = console
        self.stage = stage

    def tell(self) -> None:
        """Tell all chapters; raises ``NotTrue`` at the first check that fails."""
        self.console.print()
        self.console.print(
            Panel(
                "The broker moves jobs. The database remembers them.\nNothing in between may drop one.",
                title="[bold]☾  A night at the shop[/]",
                border_style="magenta",
                padding=(1, 4),
                expand=False,
            )
        )
        self._dusk()
        self._letter()
        self._moody_partner()
        job_id = self._hopeless_case()
        self._dawn(job_id)
        self._close_up()

    def _dusk(self) -> None:
        with self._busy("Lighting the lamps: broker, web, worker, Beat, a mailbox, a partner"):
            self.stage.start()
        self._seen(f"The shop is open at {self.stage.url}")

    def _letter(self) -> None:
        self._chapter("I", "A letter", "Ada signs up. The page answers at once; the letter is a job.")
        started = time.monotonic()
        answer = self.stage.request("/signup", {"name": "Ada", "email": "ada@example.org"})
        took = (time.monotonic() - started) * 1000
        job = answer.get("job") or _fail(f"/signup answered {answer}")
        self._seen(
            f"POST /signup → 202 in {took:.0f} ms, job [cyan]{job['id'][-8:]}[/] [dim]{job['task']}[/]"
        )
        with self._busy("The postman is on the way"):
            wait_for(self.stage.mails, 15)
            self.stage.wait_for_state(job["id"], "succeeded")
        mail = self.stage.mails()[0]
        letter = f"From     {mail['From']['Name']}\nTo       {mail['To'][0]['Address']}\n[bold]{mail['Subject']}[/]"
        self.console.print(Panel(letter, border_style="yellow", expand=False, padding=(0, 2)))
        again = self.stage.enqueue("/signup", {"name": "Ada", "email": "ada@example.org"})
        self.stage.wait_for_state(again, "succeeded")
        _check(len(self.stage.mails()) == 1, "Ada has more than one letter")
        self._seen("She signs up a second time. The job runs, and finds its work done: still one letter.")

    def _moody_partner(self) -> None:
        self._chapter("II", "A moody partner", "It refuses three times. Each time we wait longer.")
        job_id = self.stage.enqueue("/hooks", {"url": f"{self.stage.partner}/flaky", "payload": {"lamps": 2}})
        self._follow(job_id, "succeeded")
        calls = self.stage.calls(job_id)
        _check([call["status"] for call in calls] == [503, 503, 503, 200], f"the partner heard {calls}")
        gaps = [after["at"] - before["at"] for before, after in itertools.pairwise(calls)]
        _check(gaps == sorted(gaps) and gaps[-1] > 2 * gaps[0], f"the waits did not grow: {gaps}")
        waited = ", ".join(f"{gap:.1f} s" for gap in gaps)
        self._seen(f"The partner's own watch says: {waited} between the calls, one Idempotency-Key in all.")

    def _hopeless_case(self) -> str:
        self._chapter("III", "A hopeless case", "This partner is broken. Four calls, then we stop ringing.")
        job_id = self.stage.enqueue(
            "/hooks", {"url": f"{self.stage.partner}/broken", "payload": {"lamps": 3}}
        )
        self._follow(job_id, "dead")
        with self._busy("It is laid with the dead letters"):
            wait_for(lambda: job_id in self._letters(), 15)
        self._command("jobs", "dead", "list")
        self._seen("Nothing is lost: the order, its payload and every error are kept.")
        return job_id

    def _dawn(self, job_id: str) -> None:
        self._chapter("IV", "Dawn", "The partner is repaired, and the letter is sent on.")
        self.stage.request(f"{self.stage.partner}/repair", {})
        self._seen("POST /repair")
        self._command("jobs", "dead", "replay", job_id)
        with self._busy("Ringing once more"):
            job = self.stage.wait_for_state(job_id, "succeeded")
        last = self.stage.calls(job_id)[-1]
        _check(last["status"] == 200 and last["payload"] == {"lamps": 3}, f"the partner heard {last}")
        self._seen(
            f"Same job [cyan]{job['id'][-8:]}[/], same key, the payload untouched: [green]succeeded[/]."
        )

    def _close_up(self) -> None:
        self._chapter("", "Closing time", "")
        self._command("jobs", "stats")
        with self._busy("Ctrl-C: running jobs finish, the broker goes last"):
            code = self.stage.stop()
        _check(code == 0, f"the shop did not stop cleanly: exit code {code}")
        self._seen("Every process has ended in good order.")

    # printing
    def _chapter(self, number: str, title: str, text: str) -> None:
        self.console.print()
        heading = f"{number}. {title}" if number else title
        self.console.print(Rule(f"[bold]{heading}[/]", style="magenta", align="left"))
        if text:
            self.console.print(f"[italic]{text}[/]\n")

    def _seen(self, text: str) -> None:
        self.console.print(f" [green]✓[/] {text}", soft_wrap=True)

    def _busy(self, text: str) -> Any:
        return self.console.status(f"{text} …", spinner="moon")

    def _command(self, *words: str) -> None:
        self.console.print(f"\n [bold]$ flask {' '.join(words)}[/]", soft_wrap=True)
        self.console.print(Text(self.stage.flask(*words).strip("\n")), soft_wrap=True)

    def _follow(self, job_id: str, end: str) -> None:
        """Show the attempts of a job from its log lines, until it is in state ``end``."""
        deadline = time.monotonic() + 40
        ended = False
        with Live(console=self.console, refresh_per_second=8) as live:
            while time.monotonic() < deadline:
                state = self.stage.job(job_id)["state"]
                ended = state == end and bool(self._lines(job_id, end))
                live.update(self._attempts(job_id, end, "" if ended else state))
                if ended:
                    break
                time.sleep(0.15)
        self.console.print()
        if not ended:
            _fail(f"the job is {self.stage.job(job_id)} and not {end}")

    def _attempts(self, job_id: str, end: str, state: str) -> Group:
        table = Table.grid(padding=(0, 2))
        for attempt, what, then in self._lines(job_id, end):
            table.add_row(f"   attempt {attempt}", what, then)
        waiting = [Spinner("moon", f" {state}")] if state else []
        return Group(table, *waiting)

    def _lines(self, job_id: str, end: str) -> list[tuple[str, str, str]]:
        lines = [
            (f"{line['attempt']}", f"[yellow]{_short(line)}[/]", f"next in [bold]{line['wait']:.1f} s[/]")
            for line in self.stage.events("job.retrying", job_id)
        ]
        colour, name = ("green", "job.succeeded") if end == "succeeded" else ("red", "job.dead")
        for line in self.stage.events(name, job_id):
            said = "the partner takes it" if end == "succeeded" else _short(line)
            lines.append((f"{line['attempt']}", f"[{colour}]{said}[/]", f"[{colour} bold]{end}[/]"))
        return lines

    def _letters(self) -> set[str]:
        """The ids of jobs that are dead letters."""
        return {letter["job_id"] for letter in json.loads(self.stage.flask("jobs", "dead", "list", "--json"))}


def _short(line: dict[str, Any]) -> str:
    message = str(line.get("error_message", ""))
    return message.partition(":")[0].lower().replace("the partner answered", "it answers")


def _check(true: bool, otherwise: str) -> None:
    if not true:
        _fail(otherwise)


def _fail(why: str) -> Any:
    raise NotTrue(why)
