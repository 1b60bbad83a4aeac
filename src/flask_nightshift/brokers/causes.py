"""Translates a client library's error into one sentence for the person who set ``NIGHTSHIFT_BROKER_URL``.

The libraries' own texts for a wrong password, a port without TLS or a server that is down are long, or all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..config.cluster_url import is_cluster

_KEY = "NIGHTSHIFT_BROKER_URL"
CLUSTER = (
    f"it is a node of a Redis Cluster: write redis+cluster:// in place of redis:// in {_KEY} "
    "(rediss+cluster:// with TLS)"
)
NOT_A_CLUSTER = (
    f"it is one server and no Redis Cluster: write redis:// in place of redis+cluster:// in {_KEY} "
    "(rediss:// with TLS)"
)
_IN_CLUSTER = (
    (r"NotACluster", NOT_A_CLUSTER),
    (r"MovedError", "the slot of its keys has just gone to another node of the cluster: try again"),
    (
        r"TryAgainError|TRYAGAIN|AskError",
        "the slot of its keys is being moved to another node of the cluster: try again when that is done",
    ),
    (
        r"ClusterDownError|CLUSTERDOWN",
        "no master serves the slot of its keys: a failover is under way, or the cluster has no replica of that master",
    ),
)
_CAUSES = (
    (r"access to (queue|exchange|topic)\b", f"the user in {_KEY} lacks a permission: see rabbitmqctl set_permissions"),
    (r"access to vhost", f"the user in {_KEY} may not use that virtual host: see rabbitmqctl set_permissions"),
    (
        r"vhost .* not found",
        f"RabbitMQ has no such virtual host: correct the path of {_KEY} (the host '/' is %2F), or add that one",
    ),
    (
        r"AuthenticationError|AccessRefused|ACCESS_REFUSED|WRONGPASS|NOAUTH|refuses the user",
        f"it refuses the user or the password in {_KEY}",
    ),
    (r"MovedError|Cluster\w*Error|CROSSSLOT|CLUSTERDOWN|\bMOVED\b", CLUSTER),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted: give ssl_ca_certs in NIGHTSHIFT_CELERY['broker_use_ssl']",
    ),
    (
        r"WRONG_VERSION_NUMBER|record layer|UNEXPECTED_EOF|SSLEOFError",
        f"that port does not speak TLS: correct the port or the scheme in {_KEY} (redis, amqp: without TLS)",
    ),
    (r"Connection refused", f"nothing listens there: start it, or correct host and port in {_KEY}"),
    (
        r"gaierror|Name or service not known|name resolution|nodename nor servname|No address associated",
        f"there is no such host: correct {_KEY}",
    ),
    (r"No such file or directory", f"there is no such socket: start it, or correct the path in {_KEY}"),
    (r"DB index is out of range|invalid DB index", f"it has no database of that number: correct the path of {_KEY}"),
    (r"MasterNotFound", f"no Sentinel in {_KEY} knows that master: correct it, or `master_name` in NIGHTSHIFT_CELERY"),
    (r"OutOfMemory|OOM command", "it is full (maxmemory): drain queues, or give it more memory"),
    (r"ReadOnlyError|READONLY", "it is a replica, which takes no jobs: a failover is under way, or the URL is wrong"),
    (
        r"timed out|[Tt]imeout",
        "it did not answer in time",
    ),
    (
        r"reset by peer|closed (the )?connection|closed by server|InvalidResponse|Protocol Error",
        f"it closed the connection: perhaps it speaks TLS, or another protocol, at the port in {_KEY}",
    ),
)  # fmt: skip
_PERMISSIONS = "docs/how-to/managed-redis.md lists what the user needs, and `flask jobs doctor` what it lacks"
_NOT_PERMITTED = (
    (
        r"permissions? to run the '([^']+)' command",
        f"it does not let the user in {_KEY} run {{0}} (+{{1}} in its ACL)",
    ),
    (r"access (?:a|one of the) (key|channel)", f"it does not let the user in {_KEY} use this {{1}}"),
    (r"executing the script can't (run|access)", f"it does not let the user in {_KEY} do what a script does"),
    (r"NoPermissionError|NOPERM", f"it does not let the user in {_KEY} do this"),
)
"""What Redis and Valkey say of a command, a key or a channel that the user's ACL does not allow."""
_TLS = re.compile(r"(rediss|rediss\+cluster|amqps)://")
LONGEST = 200
"""The maximum number of characters of a library's own text."""


def cause(exc: BaseException, url: str) -> str:
    """The probable cause of ``exc`` as a sentence; empty if unknown. ``url`` is the broker's."""
    told = " ".join(f"{type(each).__name__}: {each}" for each in _chain(exc))
    if sentence := _not_permitted(told):
        return sentence
    for pattern, sentence in (*_IN_CLUSTER, *_CAUSES) if is_cluster(url) else _CAUSES:
        if re.search(pattern, told):
            if sentence.endswith("in time") and _TLS.match(url):
                return f"{sentence}; perhaps the port in {_KEY} does not speak TLS"
            return sentence
    return ""


def refusal(exc: BaseException) -> str:
    """A sentence that names the command, or the kind of name, that the ACL of Redis does not allow; else empty."""
    return _not_permitted(" ".join(f"{type(each).__name__}: {each}" for each in _chain(exc)))


def _not_permitted(told: str) -> str:
    for pattern, sentence in _NOT_PERMITTED:
        if found := re.search(pattern, told):
            name = found[1] if found.re.groups else ""
            return f"{sentence.format(name.upper().replace('|', ' '), name)}: {_PERMISSIONS}"
    return ""


def short_text(exc: BaseException) -> str:
    """The type and the text of ``exc``, at most ``LONGEST`` characters."""
    text = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while exc is not None and exc not in seen:
        seen.append(exc)
        yield exc
        exc = exc.__cause__ or exc.__context__


__all__ = ["CLUSTER", "NOT_A_CLUSTER", "cause", "refusal", "short_text"]
