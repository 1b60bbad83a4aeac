"""The check of the scripts' keys refuses a script that touches another key, and covers every script."""

from __future__ import annotations

import json

import pytest
from redis.exceptions import ResponseError

from declared_keys import ALL, checked
from flask_nightshift.brokers.redis.transport import queues, scripts
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from servers import Valkey
from transport_support import Harness, eta, look_for_dead

KEYS = KeySpace()
UNIQUE = {"unique": {"key": "mail", "until": "done", "on_duplicate": "skip", "seconds": 60}}


def test_a_key_that_is_not_declared_is_refused(valkey: Valkey) -> None:
    valkey.fresh_url()
    with valkey.client() as client:
        probe = checked("probe", "redis.call('SET', KEYS[1], 1); redis.call('GET', ARGV[1]); return 1")
        assert probe.run(client, ["one"], ["one"]) == 1
        with pytest.raises(ResponseError, match="not in KEYS: other"):
            probe.run(client, ["one"], ["other"])


def test_what_used_to_make_up_its_keys_declares_them(valkey: Valkey, declared_keys: set[str]) -> None:
    """Claims and pulses of two queues with priorities, a return, a dead consumer, and a purge of unique jobs."""
    harness = Harness(valkey)
    for queue in ("mail", "sms"):
        for priority in (0, 5, 9):
            harness.publish(priority, queue, priority=priority)
            harness.publish(priority, queue, priority=priority, headers={"eta": eta(60)})
    reader = harness.reader("mail", "sms", prefetch=4)
    reader.take(4)
    reader.lease.give_back([next(iter(reader.lease._jobs))], counted=True)
    reader.lease.watched = KEYS.steps, ("mail", "sms")
    reader.lease.pulse(reader.lease.client, "", others=True)
    reader.lease.renewer.stop()
    harness.redis.zadd(KEYS.consumers, {reader.lease.id: 1})
    look_for_dead(harness)
    assert look_for_dead(harness) == [reader.lease.id]
    assert not harness.redis.exists(reader.lease.key)

    for number in range(3):
        lock = KEYS.lock(f"lock-{number}")
        harness.redis.hset(lock, "id", f"id-{number}")
        raw = {
            "body": "",
            "headers": {"id": f"id-{number}", "nightshift": {"unique": {"key": f"lock-{number}"}}},
        }
        harness.redis.lpush("mail", json.dumps(raw))
        harness.redis.zadd(KEYS.delayed("mail"), {f"0|{json.dumps(raw)}": 9e9})
    waiting = sum(map(harness.redis.llen, KEYS.ready_lists("mail"))) + harness.redis.zcard(
        KEYS.delayed("mail")
    )
    assert queues.purge(harness.redis, KEYS, "mail") == waiting
    assert not harness.redis.keys(KEYS.lock("") + "*")
    assert {"claim", "pulse", "give_back", "held", "reclaim", "purge", "renew"} <= declared_keys
    harness.close()


@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_the_sweep_of_bindings_declares_its_keys(
    valkey: Valkey, declared_keys: set[str], prefix: str
) -> None:
    """It forgets what nobody refreshed, as kombu's does, and keeps the tables of queues that do not expire."""
    harness = Harness(valkey)
    channel = harness.connect(global_keyprefix=prefix).channel()
    deadlines = {"gone": 1, "lasting": 1, "fresh": 9e15}
    harness.redis.zadd(f"{prefix}_kombu.binding_deadlines", deadlines)
    for exchange in deadlines:
        harness.redis.sadd(f"{prefix}_kombu.binding.{exchange}", "a queue")
    harness.redis.sadd(f"{prefix}_kombu.binding_permanent.lasting", "a queue")
    assert channel.sweep_bindings() == 2
    assert {name.decode() for name in harness.redis.keys("*_kombu.binding.*")} == {
        f"{prefix}_kombu.binding.lasting",
        f"{prefix}_kombu.binding.fresh",
    }
    assert harness.redis.zrange(f"{prefix}_kombu.binding_deadlines", 0, -1) == [b"fresh"]
    assert channel.sweep_bindings() == 0
    assert declared_keys == {"sweep"}
    harness.close()


def test_the_check_covers_every_script() -> None:
    assert {each.name for each in vars(scripts).values() if isinstance(each, scripts.Script)} == {
        each.name for each in ALL.values()
    }
