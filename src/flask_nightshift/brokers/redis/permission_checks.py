"""Which commands, keys and channels the server refuses to the user of the broker's URL.

The server itself says so, and nothing is done: it checks each command after ``MULTI`` against the user's rights when it
comes, and the end of the connection drops them all. ``ACL DRYRUN`` and ``ACL GETUSER`` need rights of their own, which
a user for jobs does not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.exceptions import NoPermissionError, ResponseError

from ..values import Finding
from .permissions import OPTIONAL, PAGE, Access

_BEFORE = ("watch", "unwatch", "multi", "exec")
"""Commands that cannot be tried after ``MULTI``; here they do nothing."""
_OF_A_COMMAND = re.compile(r"permissions? to run ")
_UNKNOWN = re.compile(r"unknown (command|subcommand)", re.IGNORECASE)


def of_permissions(client: redis.Redis, access: Access) -> Iterator[Finding]:
    """What the user lacks, with the rules to add."""
    user = str(client.connection_pool.connection_kwargs.get("username") or "default")
    replies = _replies(client, access)
    refused = [rule for rule, reply in replies.items() if _refuses(rule, reply)]
    needed = [rule for rule in refused if rule[1:] not in OPTIONAL]
    unknown = [rule for rule, reply in replies.items() if _UNKNOWN.search(str(reply))]
    if needed:
        yield Finding(
            "error",
            "permissions",
            f"the user {user} may not use {_listed(needed)}: jobs cannot run, or run twice.",
            f"ACL SETUSER {user} {' '.join(needed)} ({PAGE} lists all that is needed).",
        )
    if unknown:
        yield Finding(
            "error",
            "permissions",
            f"the server does not know {_listed(unknown)}.",
            f"Use Redis 6.2 or later, or Valkey; {PAGE} lists what is needed.",
        )
    for rule in refused:
        if (without := OPTIONAL.get(rule[1:])) is not None:
            message = f"the user {user} may not use {_listed([rule])}: {without}."
            yield Finding("info", "permissions", message, f"ACL SETUSER {user} {rule}")
    if len(replies) == len(_BEFORE) and not needed:
        yield Finding("info", "permissions", "cannot be checked: the server has no MULTI.", f"See {PAGE}.")
    elif not needed and not unknown:
        yield Finding("ok", "permissions", f"the user {user} may do all that is needed")


def _replies(client: redis.Redis, access: Access) -> dict[str, Any]:
    """The server's reply to the example of each rule of an ACL; of the first ones only, if there is no ``MULTI``."""
    commands = {**access.commands, **access.optional}
    before = {f"+{name}": commands.pop(name) for name in _BEFORE}
    others = {
        **{f"+{name}": example for name, example in commands.items()},
        **{f"~{name}": example for name, example in access.keys.items()},
        **{f"&{name}": example for name, example in access.channels.items()},
    }
    connection: Any = client.connection_pool.get_connection()
    try:
        replies = _asked(connection, before)
        [multi] = _asked(connection, {"": ["MULTI"]}).values()
        if not isinstance(multi, ResponseError):
            replies |= _asked(connection, others)
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)
    return replies


def _asked(connection: Any, examples: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The replies to ``examples``, which are sent together; an error is one."""
    connection.send_packed_command(connection.pack_commands(examples.values()))
    return {rule: _reply(connection) for rule in examples}


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as exc:
        return exc


def _refuses(rule: str, reply: Any) -> bool:
    """Whether the user lacks the rule, and not another one that its example needs, too."""
    if rule[0] == "+":  # a refused EXEC is an EXECABORT
        return isinstance(reply, ResponseError) and bool(_OF_A_COMMAND.search(str(reply)))
    return isinstance(reply, NoPermissionError) and not _OF_A_COMMAND.search(str(reply))


def _listed(rules: Sequence[str]) -> str:
    """``ZADD, CLIENT ID, keys like mail*``."""
    of = {sign: [rule[1:] for rule in rules if rule[0] == sign] for sign in "+~&"}
    parts = [", ".join(of["+"]).upper().replace("|", " ")]
    parts += [
        kind + ", ".join(of[sign])
        for sign, kind in (("~", "keys like "), ("&", "channels like "))
        if of[sign]
    ]
    return " and ".join(filter(None, parts))


__all__ = ["of_permissions"]
