"""The app of ``jobsapp.py``; its worker raises once at one step of a settlement, when a test asks for it.

The test writes the name of the step into the file ``LEDGER + ".inject"``; that step deletes the file and raises.
"""

from __future__ import annotations

import os
from typing import Any

from celery import signals
from celery.exceptions import Reject
from kombu.message import Message

from flask_nightshift.brokers.rabbitmq.broker import RabbitMQBroker
from flask_nightshift.brokers.redis.broker import RedisBroker
from flask_nightshift.domain.events import Events
from flask_nightshift.message import burial
from flask_nightshift.message import headers as message_headers
from flask_nightshift.worker import hooks, outcome
from flask_nightshift.worker.delivery import Delivery
from flask_nightshift.worker.request import JobRequest
from flask_nightshift.worker.settlement import Settlement
from jobsapp import FAST, begun, create_app, jobs, note

__all__ = ["STEPS", "create_app"]

STEPS: dict[str, tuple[Any, str]] = {
    "begin": (JobRequest, "_begin"),
    "conclude": (JobRequest, "_conclude"),
    "task_ready": (outcome, "task_ready"),
    "acknowledge": (JobRequest, "acknowledge"),
    "decide": (outcome, "decide"),
    "ended": (Delivery, "_ended"),
    "next_attempt": (message_headers, "next_attempt"),
    "envelope": (outcome, "envelope_of"),
    "step": (outcome, "Transition"),
    "burial": (Settlement, "burial"),
    "buried": (burial, "buried"),
    "returned": (message_headers, "returned"),
    "write": (Settlement, "_try"),
    "replace": (RedisBroker, "replace"),
    "replace_amqp": (RabbitMQBroker, "replace"),
    "emit": (Events, "emit"),
    "send_event": (JobRequest, "send_event"),
    "hooks": (hooks, "failed"),
    "ack": (Message, "ack"),
}
ERRORS = {"ack": BrokenPipeError}
"""The type of the error at a step, if it matters."""


@jobs.task(name="test.turned_away", **FAST)
def turned_away(marker: str) -> None:
    """Ask once to be returned."""
    note(marker, "begun")
    if begun(marker) == 1:
        raise Reject("not now", requeue=True)
    note(marker, "done")


def raises_when_told(name: str, call: Any) -> Any:
    file, main = os.environ["LEDGER"] + ".inject", os.getpid()

    def wrapped(*args: Any, **options: Any) -> Any:
        if os.getpid() == main and os.path.exists(file):
            with open(file, encoding="utf-8") as wanted:
                told = wanted.read() == name
            if told:
                os.unlink(file)
                raise ERRORS.get(name, RuntimeError)(f"injected at {name}")
        return call(*args, **options)

    return wrapped


@signals.celeryd_init.connect
def inject(**_: Any) -> None:
    for name, (owner, attribute) in STEPS.items():
        setattr(owner, attribute, raises_when_told(name, getattr(owner, attribute)))
