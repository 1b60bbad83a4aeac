"""One dead letter: why its job died, with which arguments, and what can be done about it."""

from __future__ import annotations

from ....domain.job import Reason
from ....operations import dead_letters
from ..call import Call, View, show
from ..routing import page

LONGEST = 20_000
"""Characters of arguments that the page shows."""


@page("/letters/letter", title="Dead letter")
def letter(call: Call) -> View:
    """A dead letter by its id or its job's, or by the start or the end of either."""
    found = dead_letters.find(call.services, call.text("letter_id"))
    args, kwargs = found.arguments(call.services.texts(found.letter.task))
    shown = [
        (name, text[:LONGEST])
        for name, text in (("Positional", args), ("By name", kwargs))
        if text not in ("", "[]", "{}")
    ]
    new = (("Positional", found.new_args), ("By name", found.new_kwargs))
    return show(
        "letter.html",
        section="letters",
        found=found,
        letter=found.letter,
        arguments=shown if call.may("view_args") else None,
        new=[(name, text[:LONGEST]) for name, text in new if text] if call.may("view_args") else [],
        changed=found.new_args is not None,
        waits=found.status == "waiting",
        is_job=bool(found.letter.job_id and found.letter.task)
        and found.letter.reason not in (Reason.UNDECODABLE, Reason.INVALID),
        raw=""
        if found.letter.task or not call.may("view_args")
        else dead_letters.beginning(call.services, found),
    )
