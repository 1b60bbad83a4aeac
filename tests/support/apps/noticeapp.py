"""An app that is told of its dead letters; each notice becomes a line of JSON in the file ``NOTICES``."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time

from flask import Flask, current_app

from flask_nightshift import DeadLetterNotice, Nightshift, PermanentFailure

jobs = Nightshift()


@jobs.on_dead
def raises(notice: DeadLetterNotice) -> None:
    raise ConnectionError(f"the chat is down, so {notice.id} is not told there")


@jobs.on_dead
def writes(notice: DeadLetterNotice) -> None:
    time.sleep(float(os.environ.get("SLOW", "0")))
    told = {**dataclasses.asdict(notice), "text": str(notice), "app": current_app.name, "pid": os.getpid()}
    with open(os.environ["NOTICES"], "a", encoding="utf-8") as notices:
        notices.write(json.dumps(told, default=str) + "\n")
    if os.environ.get("HANGS"):
        time.sleep(3600)


@jobs.task(name="flaky", max_retries=1, retry_backoff=0.1, retry_jitter=False)
def flaky() -> None:
    raise ConnectionError("the partner is down")


@jobs.task(name="permanent")
def permanent() -> None:
    raise PermanentFailure("there is no such account")


@jobs.task(name="fine")
def fine() -> None: ...


@jobs.task(name="kills")
def kills() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def create_app() -> Flask:
    app = Flask("shop", instance_path=os.environ["INSTANCE"])
    app.config.update(SERVER_NAME="shop.example", PREFERRED_URL_SCHEME="https", APPLICATION_ROOT="/app")
    jobs.init_app(app)
    return app


def main() -> dict[str, str]:
    """Enqueue a job for every way to die; their ids."""
    with create_app().app_context():
        made = {
            "flaky": flaky.delay().id,
            "permanent": permanent.delay().id,
            "expired": fine.apply_async(expires=0.2).id,
            "unknown": jobs.celery.send_task("nobody.knows").id,
            "kills": kills.delay().id,
        }
        jobs.close()
    return made
