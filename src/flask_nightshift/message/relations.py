"""Reads from a job's message what connects it with other jobs.

A message holds signatures: the rest of its chain, the body of its chord. Users build them, so nothing here trusts their
shape, and nothing raises: a job is enqueued whether or not its connections can be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..domain.relations import MOST_FOLLOWING, Announced, Relations
from .envelope import Envelope

JSON = "application/json"
_CHAIN, _CHORD, _GROUP = "celery.chain", "celery.chord", "celery.group"
_DEEPEST = 10


def relations_of(headers: Mapping[str, Any], embed: object) -> Relations | None:
    """The connections of the job with these headers; None if it has none.

    ``embed`` is the third part of its body, with its chain and its chord.
    """
    job_id, parent, group = headers.get("id"), _id(headers.get("parent_id")), _id(headers.get("group"))
    root = _id(headers.get("root_id"))
    parts = embed if isinstance(embed, Mapping) else {}
    chain, chord = parts.get("chain"), parts.get("chord")
    if not (parent or group or chain or chord or root != job_id):
        return None
    body = next(iter(_announced([chord], None)), None) if chord else None
    following = [*_announced(_reversed(chain), _id(job_id)), *([body] if body else [])]
    if not (parent or group or following or (root and root != job_id)):
        return None
    return Relations(parent, root, group, body.job_id if body else None, tuple(following))


def relations_in(envelope: Envelope) -> Relations | None:
    """The same of an encoded message; its chain and chord only if its body is JSON."""
    embed: object = None
    if envelope.content_type == JSON and (b'"chain"' in envelope.body or b'"chord"' in envelope.body):
        try:
            embed = json.loads(envelope.body)[2]
        except (ValueError, LookupError, TypeError, RecursionError):
            embed = None
    return relations_of(envelope.headers, embed)


def _announced(signatures: Sequence[Any], after: str | None) -> Iterator[Announced]:
    """The first jobs of ``signatures``, which come one after the other, and the last one."""
    flat = [found for each in signatures for found in _jobs(each, _DEEPEST)]
    last = after
    for at, (job_id, task, size) in enumerate(flat):
        if at < MOST_FOLLOWING or at == len(flat) - 1:
            yield Announced(job_id, task, last, size)
        last = job_id


def _jobs(signature: object, depth: int) -> Iterator[tuple[str, str, int | None]]:
    """The id and task of the jobs of a signature, one after the other; a group has the id of its result.

    Of a chord it is its body, with the number of jobs for which that waits.
    """
    if not isinstance(signature, Mapping) or not depth:
        return
    task, kwargs = signature.get("task"), signature.get("kwargs")
    inner = kwargs if isinstance(kwargs, Mapping) else {}
    if task == _CHAIN:
        for each in _list(inner.get("tasks")):
            yield from _jobs(each, depth - 1)
        return
    if task == _CHORD:
        header = inner.get("header")
        members = _list(header) or _list(_inner(header).get("tasks"))
        for at, (body_id, name, size) in enumerate(_jobs(inner.get("body"), depth - 1)):
            yield body_id, name, size if at else len(members)
        return
    options = signature.get("options")
    job_id = _id(options.get("task_id")) if isinstance(options, Mapping) else None
    if job_id is None:
        return
    if task == _GROUP:
        yield job_id, f"group of {len(_list(inner.get('tasks')))}", None
        return
    yield job_id, str(task), _size(signature.get("chord_size"))


def _inner(signature: object) -> Mapping[str, Any]:
    kwargs = signature.get("kwargs") if isinstance(signature, Mapping) else None
    return kwargs if isinstance(kwargs, Mapping) else {}


def _reversed(chain: object) -> list[Any]:
    """A message's chain in the order in which its jobs run; Celery takes the next one from its end."""
    return list(reversed(chain)) if isinstance(chain, (list, tuple)) else []


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


__all__ = ["relations_in", "relations_of"]
