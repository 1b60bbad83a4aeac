"""The tags of jobs: a row for each, with the kind and the time of its job, so that one index finds a tag's jobs.

Jobs without tags have no rows here and cost nothing. Whoever changes the row of a job with tags writes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, select, text

from .tables import tags
from .types import KeyText

_WRITE = text("""
    INSERT INTO nightshift_tags (job_id, tag, kind, enqueued_at)
    SELECT id, :tag, coalesce(kind, 0), enqueued_at FROM nightshift_jobs WHERE id = :job_id
    ON CONFLICT (job_id, tag) DO UPDATE SET kind = excluded.kind, enqueued_at = excluded.enqueued_at
""").bindparams(bindparam("tag", type_=KeyText()), bindparam("job_id", type_=KeyText()))


def write(connection: Connection, tagged: Mapping[str, Sequence[str]]) -> None:
    """Write the tags of each job (by id), whose row was just written in the same transaction."""
    values = [{"job_id": job_id, "tag": tag} for job_id in sorted(tagged) for tag in sorted(tagged[job_id])]
    if values:
        connection.execute(_WRITE, values)


def of(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The tags of each of these jobs that has any, by the job's id, in alphabetical order."""
    found: dict[str, tuple[str, ...]] = {}
    query = select(tags.c.job_id, tags.c.tag).where(tags.c.job_id.in_(list(ids)))
    for job_id, tag in connection.execute(query.order_by(tags.c.job_id, tags.c.tag)):
        found[job_id] = (*found.get(job_id, ()), tag)
    return found


__all__ = ["of", "write"]
