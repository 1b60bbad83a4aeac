"""Commands that run a process, and ``migrate``."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import click
from flask.cli import with_appcontext

from ..domain.pools import DEFAULT, POOLS
from .base import audited, echo_json, json_option, load_services, services, why_option

_LEVELS = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False)


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    envvar="PORT",
    default=8000,
    show_default="$PORT or 8000",
    help="Of the web app, on 127.0.0.1.",
)
@click.pass_context
def up(ctx: click.Context, port: int) -> None:
    """Run everything in this terminal: broker (when embedded), web, worker, Beat."""
    from ..up.start import up as run

    raise SystemExit(run(load_services(ctx).app, port=port))


@click.command()
@click.pass_context
def broker(ctx: click.Context) -> None:
    """Run the embedded broker (embedded://) in the foreground."""
    from ..brokers.redis import embedded

    embedded.serve(load_services(ctx).app.instance_path)


@click.command()
@click.option("--queues", "-Q", metavar="A,B", help="Consume these only.  [default: all that are configured]")
@click.option(
    "--concurrency", "-c", type=click.IntRange(1), help="Processes or threads.  [default: one per core]"
)
@click.option(
    "--pool",
    type=click.Choice(list(POOLS)),
    help=f"[default: {DEFAULT.name}, or NIGHTSHIFT_CELERY['worker_pool']]",
)
@click.option(
    "--name",
    "-n",
    help="Name of this worker, with Celery's %h, %n and %d.  [default: worker@HOST, worker2@HOST, …]",
)
@click.option("--log-level", "-l", type=_LEVELS, help="[default: NIGHTSHIFT_LOG_LEVEL]")
@click.option(
    "--max-jobs-per-child", type=click.IntRange(1), help="Replace a child process after this many jobs."
)
@click.option("--task-events", "-E", is_flag=True, help="Tell Flower and other monitors of each job.")
@click.option("--beat", "-B", is_flag=True, help="Run Beat in this worker, too.")
@click.pass_context
def worker(
    ctx: click.Context,
    queues: str | None,
    concurrency: int | None,
    pool: str | None,
    name: str | None,
    log_level: str | None,
    max_jobs_per_child: int | None,
    task_events: bool,
    beat: bool,
) -> None:
    """Run a worker until SIGTERM; then it finishes its jobs within NIGHTSHIFT_STOP_GRACE."""
    from .. import logs
    from ..worker import main
    from ..worker.pools import support_of

    current = load_services(ctx)
    pool = pool or current.celery.conf.worker_pool
    support_of(pool).prepare_process()
    if not logs.is_taken():
        logs.configure(
            current.settings, level=log_level
        )  # now, for log lines from before Celery sets up logging
    _in_no_context(
        main.run,
        current,
        queues=tuple(part.strip() for part in queues.split(",") if part.strip()) if queues else (),
        concurrency=concurrency,
        pool=pool,
        name=name,
        log_level=log_level,
        max_jobs_per_child=max_jobs_per_child,
        task_events=task_events,
        beat=beat,
    )


@click.command()
@click.pass_context
def beat(ctx: click.Context) -> None:
    """Run Beat, which enqueues what NIGHTSHIFT_SCHEDULE says."""
    from .. import logs
    from ..schedule import running as beats

    current = load_services(ctx)
    if not logs.is_taken():
        logs.configure(current.settings)
    _in_no_context(beats.run, current)


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=5555,
    show_default=True,
    help="On 127.0.0.1.",
)
@click.option(
    "--link", metavar="URL", help="Only print a one-time link to the dashboard of the app that runs at URL."
)
@click.pass_context
def dashboard(ctx: click.Context, port: int, link: str | None) -> None:
    """Serve the dashboard on this machine, and print a link that opens it once."""
    from ..errors import ConfigurationError
    from ..web.dashboard import alone

    current = load_services(ctx)
    if not current.settings.dashboard_prefix:
        raise ConfigurationError(
            "NIGHTSHIFT_DASHBOARD_PREFIX", "off", "give the dashboard a path, such as '/nightshift'"
        )
    if link is not None:
        made = alone.link_to(current, link)
        if made is None:
            raise ConfigurationError("SECRET_KEY", None, "the app needs one, because it signs the links")
        click.echo(made)
        return
    try:
        alone.serve(current, port, _tell)
    except KeyboardInterrupt:
        click.echo()


def _tell(link: str) -> None:
    click.echo(
        f"The dashboard, for this machine only. This link opens it once:\n\n  {link}\n\nCtrl-C stops it."
    )


@click.command()
@why_option
@json_option
@with_appcontext
def migrate(why: str | None, as_json: bool) -> None:
    """Create or update the tables."""
    from ..operations import database
    from ..operations.audit import named

    current = services()
    done = database.migrate(current)
    applied = [revision for revisions in done.values() for revision in revisions]
    if applied:  # before that there may be no table to write to
        with audited("migrate", named("revision", applied), why) as told:
            told.acted_on(len(applied))
    if as_json:
        echo_json([{"database": url, "applied": revisions} for url, revisions in done.items()])
        return
    for revision in applied:
        click.echo(f"applied {revision}")
    if not applied:
        for url in done:
            click.echo(f"{url} is up to date")


def _in_no_context(run: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Run outside of every Flask context, because each job gets its own and must not share it with the previous one."""
    raise SystemExit(Context().run(run, *args, **options) or 0)
