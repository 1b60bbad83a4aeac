"""Queues very many jobs in a few seconds: a script in the Redis server copies one message under new ids."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

QUEUE = "celery"
BATCH = 20_000
COPY = """
-- KEYS[1]: the ready list; ARGV[1]: first number, ARGV[2]: last number, ARGV[3]: how all ids begin, the rest: the
-- message, split at its id
local parts = {}
for i = 4, #ARGV do parts[i - 3] = ARGV[i] end
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('LPUSH', KEYS[1], table.concat(parts, ARGV[3] .. string.format('%012x', number)))
end
"""


def multiply(client: redis.Redis, count: int) -> None:
    """Replace the one job in Celery's ready list by ``count`` copies.

    Their ids sort by time, like a producer's. No two calls create the same ids, because the history needs longer for a
    job that it already knows.
    """
    message: Any = client.lindex(QUEUE, 0)
    job_id = json.loads(message)["headers"]["id"]
    parts = message.split(job_id.encode())
    milliseconds = f"{time.time_ns() // 1_000_000:012x}"
    begin = f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-"
    client.delete(QUEUE)
    copy = client.register_script(COPY)
    for first in range(0, count, BATCH):
        copy(keys=[QUEUE], args=[first, min(first + BATCH, count) - 1, begin, *parts])
