"""Commands that only read: ``health``, ``stats``, ``doctor``."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext

from ..text.printable import in_a_line, printable
from .base import (
    Seconds,
    ago,
    cells,
    console,
    echo_json,
    json_option,
    services,
    table,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..brokers.values import Finding
    from ..observe.overview import Overview

_PARTS = ("broker", "database", "queues", "outbox", "workers", "beat")
_LEVEL_STYLES = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}


@click.command()
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(_PARTS), help="Check this part; repeatable."
)
@click.option("--worker", metavar="NAME", help="Check the worker of this name, or on this host, alone.")
@click.option("--timeout", type=Seconds(0.1, 60), default=2.0, show_default=True, help="Seconds.")
@json_option
@with_appcontext
def health(parts: tuple[str, ...], worker: str | None, timeout: float, as_json: bool) -> None:
    """Exit with 0 if broker, database, workers and Beat work, else with 1."""
    from ..observe import health as checks

    wanted = parts or (("workers",) if worker else checks.PARTS)
    report = checks.check(services(), wanted, worker=worker, timeout=timeout)
    if as_json:
        echo_json(report.as_dict())
    else:
        for name, check in report.parts.items():
            state = "ok  " if check.ok else "FAIL"
            click.echo(f"{name:<9} {state} {check.latency * 1000:7.1f} ms  {in_a_line(check.detail)}")
    raise SystemExit(0 if report.ok else 1)


@click.command()
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", type=Seconds(0.2, 3600), default=2.0, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch one line each time.")
@with_appcontext
def stats(watch: bool, interval: float, as_json: bool) -> None:
    """Queues, workers, dead letters and totals."""
    from ..observe import overview as inspector

    current = services()
    if not watch:
        overview = inspector.overview(current)
        echo_json(overview.as_dict()) if as_json else console().print(_page(overview))
        return
    try:
        if as_json:
            while True:
                echo_json(inspector.overview(current).as_dict(), compact=True)
                time.sleep(interval)
        from rich.live import Live

        with Live(_page(inspector.overview(current)), console=console(), auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_page(inspector.overview(current)), refresh=True)
    except KeyboardInterrupt:
        return


def _page(overview: Overview) -> RenderableType:
    from rich.console import Group

    return Group(_queues(overview), _workers(overview), _summary(overview), _totals(overview))


def _right(heading: str) -> tuple[str, dict[str, Any]]:
    return heading, {"justify": "right"}


def _unavailable(title: str, reason: str | None) -> RenderableType:
    from rich.text import Text

    return Text.assemble((title, "bold"), "\n  ", ("unavailable", "red"), f": {in_a_line(reason)}\n")


def _queues(overview: Overview) -> RenderableType:
    if not overview.queues.ok:
        return _unavailable("Queues", overview.queues.error)
    counts = _right("ready"), _right("delayed"), _right("leased"), _right("oldest")
    paused = overview.paused.value if overview.paused.ok else {}
    shown = table("queue", *counts, *[("state", {"ratio": 1})] * bool(paused), title="Queues")
    for row in overview.queues.value:
        state = [paused.get(row.queue, "")] if paused else []
        shown.add_row(*cells([row.queue, row.ready, row.delayed, row.leased, ago(row.oldest), *state]))
    return shown


def _workers(overview: Overview) -> RenderableType:
    if not overview.workers.ok:
        return _unavailable("Workers", overview.workers.error)
    columns = (
        ("worker", {"ratio": 2}),
        ("state", {"ratio": 2}),
        _right("running"),
        "pool",
        ("queues", {"ratio": 2}),
    )
    shown = table(*columns, title="Workers")
    for row in overview.workers.value:
        running = f"{len(row.busy)}/{row.concurrency}"
        state = row.problem or "healthy"
        shown.add_row(*cells([row.name, state, running, row.pool, ", ".join(row.queues)]))
    if not overview.workers.value:
        shown.add_row("none seen")
    return shown


def _summary(overview: Overview) -> RenderableType:
    from rich.text import Text

    letters = f"{overview.dead_letters.value} waiting" if overview.dead_letters.ok else "not known"
    if overview.dead_pending.ok and overview.dead_pending.value:
        letters += f", {overview.dead_pending.value} not yet archived"
    if not overview.beat.ok:
        beat = "not known"
    elif overview.beat.value.last_tick is None:
        beat = "never seen"
    else:
        beat = f"last tick {ago(max(0.0, (overview.at - overview.beat.value.last_tick).total_seconds()))} ago"
        if len(overview.beat.value.alive) > 1:
            beat += f"; {len(overview.beat.value.alive)} run"
    lines = [("Dead letters  ", letters), ("Beat          ", beat)]
    if overview.throughput.ok:
        rates = overview.throughput.value
        ended = ", ".join(f"{count} {outcome}" for outcome, count in rates.counts.items())
        lines.append((f"Last {rates.minutes:.0f} min    ", ended))
    return Text.assemble(*(part for head, tail in lines for part in ((head, "bold"), f"{tail}\n")))


def _totals(overview: Overview) -> RenderableType:
    if not overview.totals.ok:
        return _unavailable("Totals", overview.totals.error)
    columns = (("task", {"ratio": 2}), ("queue", {"ratio": 1}), "outcome", _right("count"), _right("mean"))
    shown = table(*columns, title="Totals")
    for row in sorted(overview.totals.value, key=lambda row: (row.task, row.queue, str(row.outcome))):
        mean = ago(row.runtime_sum / row.count) if row.count and row.runtime_sum else None
        shown.add_row(*cells([row.task, row.queue, row.outcome, row.count, mean]))
    return shown


@click.command()
@json_option
@with_appcontext
def doctor(as_json: bool) -> None:
    """Check the configuration against the live broker and database; exit with 1 on errors."""
    from dataclasses import asdict

    from ..observe import doctor as checks

    findings = checks.examine(services())
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print_finding(finding)
    raise SystemExit(1 if checks.worst(findings) == "error" else 0)


def _print_finding(finding: Finding) -> None:
    width = min(100, shutil.get_terminal_size().columns)
    text = f"{finding.level:<8} {finding.check}: {printable(finding.message)}"
    shown = click.wrap_text(text, width, subsequent_indent=" " * 9)
    click.echo(click.style(shown[:8], fg=_LEVEL_STYLES.get(finding.level)) + shown[8:])
    if finding.remedy:
        click.echo(click.wrap_text(printable(finding.remedy), width, " " * 9 + "-> ", " " * 12))
