"""Shared by all commands: errors, output, and types of options."""

from __future__ import annotations

import codecs
import contextlib
import math
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, ScriptInfo

from ..errors import NightshiftError
from ..text.failures import told
from ..text.moments import moment
from ..text.printable import as_json, in_a_line, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..operations.audit import Action
    from ..services import Services

_OUTPUTS = ("stdout", "stderr")
SLOWEST = 1 / 86_400
"""Jobs per second: the lowest ``--rate``."""
MOST = 1_000_000
"""The highest ``--limit``."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def _reason(_: click.Context, __: click.Parameter, why: str | None) -> str | None:
    """``--why``, which the audit would cut."""
    from ..operations.audit import LONGEST_REASON

    if why is not None and len(why.strip()) > LONGEST_REASON:
        raise click.BadParameter(f"{len(why.strip()):,} characters; use at most {LONGEST_REASON}")
    return why


why_option = click.option("--why", metavar="TEXT", callback=_reason, help="The reason, for the audit.")


class JobsGroup(AppGroup):
    """A group whose commands report errors in one line on standard error instead of a traceback.

    ``places``: where in this package each command is found ("MODULE:OBJECT"); it is imported when it is asked for.
    """

    def __init__(self, *args: Any, places: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return sorted({*super().list_commands(ctx), *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None if there is none. click then suggests others, so all are imported."""
        for name in [cmd_name] if cmd_name in self._places else self._places:
            if cmd_name not in self.commands and name not in self.commands:
                self.add_command(pkgutil.resolve_name(f"{__package__}.{self._places[name]}"))
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of ours and of the system become ``Error: …`` and exit code 1."""
        _take_every_text()
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly
        except (NightshiftError, OSError) as exc:
            raise click.ClickException(one_line(exc)) from exc
        except RuntimeError as exc:
            if "Nightshift is not initialised" in str(exc):
                raise click.ClickException(one_line(exc)) from exc
            raise


def _take_every_text() -> None:
    """Write characters that the terminal's encoding does not know as escapes, instead of failing."""
    for name in _OUTPUTS:
        if (reconfigure := getattr(getattr(sys, name), "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")


def services() -> Services:
    """The services of the app that ``flask`` loaded."""
    from ..services import current

    return current()


def load_services(ctx: click.Context) -> Services:
    """The same without an app context, for processes whose jobs each push their own."""
    from ..services import current

    return current(ctx.ensure_object(ScriptInfo).load_app())


def audited(
    action: str, target: str, why: str | None = None, *, dry_run: bool = False
) -> contextlib.AbstractContextManager[Action]:
    """Record in the audit what the block does, by the user of this process; the block says on how many.

    With ``dry_run`` it does nothing, so nothing is recorded.
    """
    from ..operations import audit

    if dry_run:
        return contextlib.nullcontext(audit.Action(target))
    return audit.acting(services(), action, target, why=why)


def short_error(error: str | None, message: str | None) -> str | None:
    """An error for a narrow column: its type without the module, and its message."""
    if not error:
        return message
    name = error.rpartition(".")[2]
    return f"{name}: {message}" if message else name


def one_line(exc: BaseException) -> str:
    """An error for people with its notes, without passwords."""
    return printable(" ".join(told(exc).split()))


def say(text: object, *, err: bool = False) -> None:
    """Print text with its control characters made visible."""
    click.echo(printable(text), err=err)


def echo_json(value: Any, *, compact: bool = False) -> None:
    """Print ``value`` as JSON on standard output."""
    utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    click.echo(as_json(value, indent=None if compact else 2, ascii_only=not utf8))


def console() -> Console:
    """A rich console on standard output, with 80 columns if that is not a terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def table(*columns: str | tuple[str, dict[str, Any]], title: str | None = None) -> Table:
    """A plain table; a column is a heading, or a heading and rich's options for it.

    Columns with a ``ratio`` share the part of the terminal's width that the others leave.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        heading, options = (column, {}) if isinstance(column, str) else column
        made.expand = made.expand or "ratio" in options
        made.add_column(heading, **{"overflow": "ellipsis", "no_wrap": True, **options})
    return made


def cells(values: Iterable[object]) -> list[str]:
    """``values`` as the cells of a row, with a dash for None."""
    return ["-" if value is None else in_a_line(" ".join(str(value).split())) for value in values]


def when(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def ago(seconds: float | None) -> str:
    """A duration for people: ``4.2s``, ``3m``, ``2h``, ``5d``."""
    if seconds is None:
        return "-"
    for limit, unit, size in ((60, "s", 1), (3600, "m", 60), (86_400, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f}{unit}" if seconds < 10 * size else f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def size(count: int | None) -> str | None:
    """A number of bytes for people, in MiB; None stays None."""
    return None if count is None else f"{count / 2**20:,.0f} MiB"


class Moment(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in click 8.4 only
    """A time: ISO 8601 (UTC unless it has an offset), or a duration before now: ``30m``, ``2h``, ``7d``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware ``datetime`` that ``value`` means."""
        if isinstance(value, datetime):
            return value
        try:
            return self._moment(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)

    def _moment(self, value: str) -> datetime:
        return moment(value, datetime.now(UTC))


class Seconds(click.FloatRange):
    """A number of seconds within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; refuses "nan", which passes click's comparison with the bounds."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


class Rate(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Jobs per second: ``10`` or ``10/s``; also ``30/m``."""

    name = "n/s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The rate per second."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/([sm]))?", str(value))
        rate = float(found[1]) / (60 if found[2] == "m" else 1) if found else 0.0
        if not SLOWEST <= rate < math.inf:
            self.fail(f"{value!r} is not a rate of one a day or more; write 10/s or 30/m", param, ctx)
        return rate


def confirm(question: str, yes: bool) -> None:
    """Ask unless ``yes``; refuse if there is no terminal to ask at."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} Say --yes: there is no terminal to ask at.")
    click.confirm(question, abort=True, err=True)
