"""The URL of a Redis Cluster, and the hash tag of its keys."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from flask_nightshift.brokers.redis.kombu_options import tagged
from flask_nightshift.brokers.redis.transport import scripts
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from flask_nightshift.config.broker_url import checked
from flask_nightshift.config.cluster_url import first_url, nodes
from flask_nightshift.errors import ConfigurationError

KEY = "NIGHTSHIFT_BROKER_URL"


@pytest.mark.parametrize(
    ("url", "addresses", "first"),
    [
        ("redis+cluster://a", [("a", 6379)], "redis://a:6379/0"),
        ("redis+cluster://a:1,b:2,c", [("a", 1), ("b", 2), ("c", 6379)], "redis://a:1/0"),
        ("redis+cluster://u:p%2Cw@a:1,[::1]:2/0", [("a", 1), ("::1", 2)], "redis://u:p%2Cw@a:1/0"),
        ("redis+cluster://[::1]:2", [("::1", 2)], "redis://[::1]:2/0"),
        ("rediss+cluster://:pw@a:1,b:2/?ssl_cert_reqs=none", [("a", 1), ("b", 2)],
         "rediss://:pw@a:1/0?ssl_cert_reqs=none"),
    ],
)  # fmt: skip
def test_the_nodes_of_a_url(url: str, addresses: list[tuple[str, int]], first: str) -> None:
    assert checked(KEY, url) == url
    assert nodes(url) == addresses
    assert first_url(url) == first


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://:s3cret@a:1,b:2/3", "only database 0"),
        ("redis+cluster://:s3cret@a:1,b:0", "from 1 to 65535"),
        ("redis+cluster://:s3cret@a:1,b:99999", "from 1 to 65535"),
        ("redis+cluster://:s3cret@a:1,,b:2", "host:port,host:port"),
        ("redis+cluster://", "host:port,host:port"),
        ("redis+cluster://:s3cret@a:1;redis+cluster://:s3cret@b:2", "host:port,host:port"),
        ("cluster://a:1", "redis+cluster://host:port,host:port"),
        ("redis-cluster://a:1", "redis+cluster://host:port,host:port"),
    ],
)
def test_a_wrong_url_gets_a_clear_error(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked(KEY, url)
    assert says in str(caught.value)
    assert KEY in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_every_prefix_becomes_one_hash_tag() -> None:
    assert tagged("") == "{nightshift}"
    assert tagged("shop:") == "{shop:}"
    assert tagged("{shop}:jobs:") == "{shop}:jobs:"
    for wrong in ("shop{", "{}shop", "a{b}", "}"):
        with pytest.raises(ConfigurationError, match="hash tag"):
            tagged(wrong)


def test_every_key_of_an_app_is_in_one_slot() -> None:
    keys = KeySpace(prefix=tagged("shop"))
    places = keys.destination("mail}{", 3)
    of_queues = [places.ready, places.delayed, places.bell, keys.tick("q", "e" * 300), keys.lock("k")]
    of_others = [
        keys.lease("w"),
        keys.started("w"),
        keys.wake("w"),
        keys.publisher("p"),
        keys.copy("r", 1, 2),
    ]
    properties = [name for name, value in vars(KeySpace).items() if isinstance(value, property)]
    names = [*of_queues, *of_others, *(getattr(keys, name) for name in properties)]
    assert len(properties) >= 10
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"shop")}


def test_a_script_with_tagged_keys_has_a_guard() -> None:
    script = scripts.RING
    command = script.by_hash(["{shop}bell"], ["x"])
    assert command == ("EVALSHA", script.guarded_sha, 2, "{shop}bell", "{shop}nightshift:guard", "x")
    assert script.by_source(["{shop}bell"], ["x"])[1] == scripts.GUARDED + script.source
    assert script.by_hash(["bell"], ["x"]) == ("EVALSHA", script.sha, 1, "bell", "x")
