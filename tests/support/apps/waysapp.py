"""An app with a task for everything that Celery's tracer does; its jobs note what they can see.

With ``CELERYS_WAY`` in the environment every job goes through Celery's strategy and tracer.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import celery
from celery import chain, chord, group, signals
from flask import Flask, g

from flask_nightshift.worker import ordinary
from waynotes import Noted, jobs, note, watch_with_spans
from waytasks import (
    appends,
    called,
    chains_errors,
    connects,
    early,
    errback,
    expects,
    fails,
    forks,
    generates,
    hooked,
    hooked_failures,
    lingers,
    nests,
    odd,
    old_errback,
    plain,
    replaces,
    retries,
    returned,
    says,
    seeing,
    shares,
    short_repr,
    sleeps,
    stores_errors,
    tears,
    tracked,
)

ordinary.celerys_way_only = bool(os.environ.get("CELERYS_WAY"))


def hears_of_each_job(**_: object) -> None:
    """Why a worker's main process goes Celery's way: the signal has a receiver."""


if ordinary.celerys_way_only:
    signals.task_received.connect(hears_of_each_job)


def create_app() -> Flask:
    app = Flask("ways", instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)

    @app.teardown_appcontext
    def tear_down(exc: BaseException | None) -> None:
        if "mark" in g:
            note(g.mark, "teardown", error=repr(exc), task=celery.current_task and celery.current_task.name)
        if "tears" in g:
            note(g.tears[0], "teardown")
            raise {"error": RuntimeError, "exit": SystemExit}[g.tears[1]]("in the teardown")

    if "worker" in sys.argv:
        if os.environ.get("WATCHED") == "spans":
            watch_with_spans(app)
        logging.getLogger("ways").addHandler(Noted())
        logging.getLogger("celery.app.trace").addHandler(Noted())
    return app


# -- the scenarios -----------------------------------------------------------------------------------------


def scenarios(queue: str, pool: str) -> dict[str, Any]:
    """Signatures of all scenarios for one queue."""

    def sig(task: Any, *args: Any, **kwargs: Any) -> Any:
        return task.si(*args, **kwargs).set(queue=queue)

    made: dict[str, Any] = {
        "nothing returned": sig(plain, "nothing returned"),
        "a value": sig(plain, "a value", {"a": [1, "x" * 2000]}),
        "kept": sig(plain, "kept", {"a": 1}).set(ignore_result=False),
        "kept nothing": sig(plain, "kept nothing").set(ignore_result=False),
        "sees": sig(seeing, "sees", 1, two=2),
        "sees options": sig(seeing, "sees options").set(
            headers={"mine": 1}, priority=3, shadow="another name", reply_to="back", time_limit=50, expires=900
        ),
        "stamped": sig(seeing, "stamped").set(stamped_headers=["who"], who="me"),
        "says": sig(says, "says"),
        "shares": sig(shares, "shares"),
        "nests": sig(nests, "nests"),
        "sleeps": sig(sleeps, "sleeps"),
        "sleeps and fails": sig(sleeps, "sleeps and fails", fail=True),
        "generates": sig(generates, "generates"),
        "no repr": sig(odd, "no repr"),
        "unstorable": sig(odd, "unstorable", keep=True).set(ignore_result=False),
        "expects": sig(expects, "expects"),
        "chains errors": sig(chains_errors, "chains errors"),
        **{f"fails {error}": sig(fails, f"fails {error}", error) for error in ("value", "permanent", "unpicklable",
            "reject", "ignore", "memory", "assertion", "soft")},
        "fails once": sig(fails, "fails once", "value", 1),
        **{f"retries {how}": sig(retries, f"retries {how}", how)
           for how in ("raised", "with error", "not thrown", "caught")},
        "returned": sig(returned, "returned"),
        "wrong arguments": celery.signature(
            "wrong_arguments", ("wrong arguments",), {"no": 1}, app=jobs.celery
        ).set(queue=queue),
        "replaces": sig(replaces, "replaces"),
        "appends": sig(appends, "appends"),
        "link": sig(plain, "link", 1).set(link=sig(plain, "link", "follows")),
        "link error": sig(fails, "link error", "permanent").set(link_error=errback.s().set(queue=queue)),
        "link old error": sig(fails, "link old error", "permanent").set(link_error=old_errback.s().set(queue=queue)),
        "chain": chain(sig(plain, "chain", 1), sig(plain, "chain", 2)),
        "group": group(sig(plain, "group", 1), sig(plain, "group", 2)),
        "chord": chord([sig(plain, "chord", 1), sig(plain, "chord", 2)], sig(plain, "chord", "body")),
        "hooked": sig(hooked, "hooked"),
        "hooked fails": sig(hooked, "hooked fails", fail=True),
        "hooked failures": sig(hooked_failures, "hooked failures"),
        "hooked failures once": sig(hooked_failures, "hooked failures once", 1),
        "called": sig(called, "called"),
        "called fails": sig(called, "called fails", fail=True),
        "early": sig(early, "early"),
        "early fails": sig(early, "early fails", fail=True),
        "stores errors": sig(stores_errors, "stores errors"),
        "tracked": sig(tracked, "tracked"),
        "short repr": sig(short_repr, "short repr"),
        "short repr of a text": sig(short_repr, "short repr of a text", "abcdef"),
        **{f"connects {name}": sig(connects, f"connects {name}", name) for name in ("task_success", "task_postrun")},
        "tears error": sig(tears, "tears error", "error"),
    }  # fmt: skip
    if pool == "prefork":
        made["forks"] = sig(forks, "forks")
    return made


def deadly(queue: str) -> dict[str, Any]:
    """Those that end their process, or wait for a time limit."""
    return {
        "fails exit": fails.si("fails exit", "exit").set(queue=queue),
        "fails keyboard": fails.si("fails keyboard", "keyboard").set(queue=queue),
        "tears exit": tears.si("tears exit", "exit").set(queue=queue),
        **{
            f"lingers {how}": lingers.si(f"lingers {how}", how).set(queue=queue)
            for how in ("raises", "returns", "ignores")
        },
    }


def main(queue: str, pool: str) -> None:
    """Enqueue the scenarios of a pool on the queue; prints the ids of the jobs of each."""
    app = create_app()
    with app.app_context():
        made = deadly(queue) if pool == "deadly" else scenarios(queue, pool)
        print(json.dumps({name: ids_of(signature.apply_async()) for name, signature in made.items()}))


def ids_of(result: Any) -> list[str]:
    """The ids of a result's jobs: its own, those of its group, and those of the steps before it."""
    ids = [result.id, *(child.id for child in getattr(result, "results", None) or ())]
    return ids if getattr(result, "parent", None) is None else [*ids, *ids_of(result.parent)]


if __name__ == "__main__":
    main(*sys.argv[1:3])
