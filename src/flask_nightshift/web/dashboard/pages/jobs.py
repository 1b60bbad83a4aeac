"""Jobs: one search box, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import replace

from flask import Response

from ....domain.job import JobState
from ....errors import InvalidQuery, JobNotFound
from ....observe import job_counts, query
from ....observe import jobs as lists
from ....observe.filters import Filters
from ....operations import jobs as lookup
from ..answers import see_other
from ..call import Call, View, show
from ..routing import page

ON_A_PAGE = 50
STATES = (
    JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED,
)  # fmt: skip
"""The states that have a tab."""
UNENDED = (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)
_LEAST_ID = 8
_NO_TEXT = (
    "A search for a text looks into the arguments of jobs, too, and you do not have the permission 'view_args'. "
    "Search by fields, or for the id of a job."
)


@page("/jobs", title="Jobs", nav="Jobs")
def jobs(call: Call) -> View | Response:
    """The jobs that the query in the search box means."""
    given = call.text("q")
    try:
        filters = query.parse(given, call.now)
    except InvalidQuery as exc:
        return _nothing(call, given, f"{exc}.")
    if (job_id := _one_job(call, filters)) is not None:
        return see_other(call.url("job", job_id=job_id))
    if filters.texts and not call.may("view_args"):
        return _nothing(call, given, _NO_TEXT)
    after = call.text("after") or None
    store = call.services.store
    found = lists.page(store, filters, limit=ON_A_PAGE, after=after)
    any_filter = filters != Filters()
    return show(
        "jobs.html",
        q=given,
        problem="",
        tabs=_tabs(call, filters),
        found=found,
        after=after,
        count=_count(call, filters, found),
        hints=lists.did_you_mean(store, filters) if not found.jobs and any_filter else [],
        filtered=any_filter,
        cancel_all=any_filter and filters.state in (None, *UNENDED) and call.may("cancel"),
        older=call.here(after=found.after) if found.after else None,
        newest=call.here(after=None) if after else None,
        note=lookup.unrecorded(call.services),
    )


def _count(call: Call, filters: Filters, found: lists.Page) -> job_counts.Count | None:
    """How many jobs match. A search for a text is not counted, because it would look at all jobs once more."""
    if filters.texts or not found.jobs:
        return None
    if found.after is None and not call.text("after"):
        return job_counts.Count(len(found.jobs))
    return job_counts.count(call.services.store, filters)


def _nothing(call: Call, given: str, problem: str) -> View:
    return show(
        "jobs.html", 400, q=given, problem=problem, tabs=_tabs(call, Filters()), found=lists.Page(), after=None,
        count=None, hints=[], filtered=True, older=None, newest=None, note="",
    )  # fmt: skip


def _tabs(call: Call, filters: Filters) -> list[tuple[str, str, bool]]:
    """All jobs, and those in each state, under the other conditions of the query."""
    found = [("All", call.url("jobs", q=query.text_of(replace(filters, state=None))), filters.state is None)]
    for state in STATES:
        url = call.url("jobs", q=query.text_of(replace(filters, state=str(state))))
        found.append((str(state).capitalize(), url, filters.state == state))
    return found


def _one_job(call: Call, filters: Filters) -> str | None:
    """The id of the job, if the query is nothing but an id, or the start or the end of one."""
    if len(filters.texts) != 1 or filters != Filters(search=filters.texts):
        return None
    given = filters.texts[0].removeprefix("\u2026")
    if len(given) < _LEAST_ID or any(each.isspace() for each in given):
        return None
    try:
        return lookup.find(call.services, given).id
    except JobNotFound:
        return None
