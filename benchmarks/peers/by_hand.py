"""No library: builds the same message by hand and pushes it with one client, as a reference for ``delay()``."""

from __future__ import annotations

import base64
import json
import os
import socket
import uuid
from collections.abc import Sequence
from functools import cache

import redis

from .. import jobs
from .base import Peer


@cache
def client() -> redis.Redis:
    """The client of this process."""
    return redis.Redis.from_url(jobs.broker_url())


def message(job: str, argument: int) -> str:
    """The message that Celery puts into the list for ``delay(argument)``."""
    job_id = str(uuid.uuid4())
    headers = {
        "lang": "py", "task": f"bench.{job}", "id": job_id, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": job_id,
        "parent_id": None, "argsrepr": repr((argument,)), "kwargsrepr": "{}",
        "origin": f"gen{os.getpid()}@{socket.gethostname()}", "ignore_result": True,
    }  # fmt: skip
    body = json.dumps([[argument], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    properties = {
        "correlation_id": job_id, "reply_to": str(uuid.uuid4()), "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0, "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }  # fmt: skip
    return json.dumps({
        "body": base64.b64encode(body.encode()).decode(), "content-encoding": "utf-8",
        "content-type": "application/json", "headers": headers, "properties": properties,
    })  # fmt: skip


class ByHand(Peer):
    """It only enqueues, and has no workers."""

    name = "by-hand"
    distributions = ("redis",)
    parallel = 0
    measures = frozenset({"enqueue"})
    bulk = "one pipeline"
    how = "Celery's message made with `json.dumps` and `LPUSH`ed through one cached client; no workers"

    def commands(self) -> list[list[str]]:
        return []

    def enqueue(self, job: str, argument: int) -> None:
        client().lpush("celery", message(job, argument))

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        with client().pipeline(transaction=False) as pipe:
            for argument in arguments:
                pipe.lpush("celery", message(job, argument))
            pipe.execute()


PEERS: list[Peer] = [ByHand()]
