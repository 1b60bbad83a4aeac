"""What connects a job whose message Celery itself makes, from the options of its call and the job that enqueues it."""

from __future__ import annotations

from typing import Any

from ..domain.relations import Relations
from ..message.relations import relations_of
from .call import Call


def relations_of_call(call: Call, job_id: str, parent: Any) -> Relations | None:
    """The relations of the job; ``parent`` is the running task that enqueues it, or None."""
    said, request = call.options, parent.request if parent else None
    headers = {
        "id": job_id,
        "parent_id": said.get("parent_id") or (request.id if request else None),
        "root_id": said.get("root_id") or ((request.root_id or request.id) if request else job_id),
        "group": said.get("group_id"),
    }
    return relations_of(headers, said)


__all__ = ["relations_of_call"]
