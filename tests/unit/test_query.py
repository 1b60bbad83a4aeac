"""The grammar of the search box: what a query means, and what a wrong one is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.errors import InvalidQuery
from flask_nightshift.observe import query
from flask_nightshift.observe.filters import Filters, types_of
from flask_nightshift.text import patterns

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)

_TEXT = st.text(max_size=20).filter(str.strip)
_EXACT = _TEXT.map(patterns.exactly)
_PATTERN = st.lists(_EXACT, max_size=4).map("*".join).filter(str.strip)
_TIME = st.timedeltas(timedelta(-9000), timedelta(9000)).map(lambda span: NOW + span)
_FILTERS = st.builds(
    Filters,
    state=st.none() | st.sampled_from(query.STATES),
    **dict.fromkeys(("task", "queue", "worker", "error"), st.none() | _PATTERN | _EXACT),
    tag=st.none() | _TEXT,
    since=st.none() | _TIME,
    until=st.none() | _TIME,
    search=st.none() | st.lists(_TEXT, min_size=1, max_size=3).map(tuple),
).filter(lambda filters: not (filters.since and filters.until) or filters.since < filters.until)


@given(_FILTERS)
def test_a_query_says_all_that_filters_say(filters: Filters) -> None:
    assert query.parse(query.text_of(filters), NOW) == filters


@given(st.text(st.sampled_from('ab*\\ ":task-\t') | st.characters(), max_size=40))
def test_every_text_is_understood_or_refused_and_means_the_same_again(text: str) -> None:
    try:
        filters = query.parse(text, NOW)
    except InvalidQuery:
        return
    assert query.parse(query.text_of(filters), NOW) == filters


@given(st.text("ab*\\.", max_size=8), st.text("ab*\\.", max_size=8))
def test_a_name_fits_itself_and_a_pattern_its_names(name: str, pattern: str) -> None:
    assert patterns.fits(name, patterns.exactly(name))
    assert patterns.is_literal(patterns.exactly(name))
    if patterns.is_literal(pattern):
        assert patterns.fits(name, pattern) == (name == patterns.literal(pattern))
    assert patterns.fits(name, "*")


@pytest.mark.parametrize(("text", "means"), [
    ("", {}),
    ("  ", {}),
    ("state:retrying task:mail.* error:timeout tag:eu since:2h",
     {"state": "retrying", "task": "mail.*", "error": "timeout", "tag": "eu", "since": NOW - timedelta(hours=2)}),
    ("State:DEAD Queue:mail", {"state": "dead", "queue": "mail"}),
    ("two words", {"search": ("two", "words")}),
    ('"it broke" x', {"search": ("it broke", "x")}),
    ('task:"my task"', {"task": "my task"}),
    (r"task:my\ task*", {"task": "my task*"}),
    ('task:"a*b"', {"task": r"a\*b"}),
    (r"task:a\*b", {"task": r"a\*b"}),
    (r'"say \"hi\""', {"search": ('say "hi"',)}),
    (r"\task:a", {"search": ("task:a",)}),
    ("tag:customer:7", {"tag": "customer:7"}),
    ('"customer:7"', {"search": ("customer:7",)}),
    ("12:30 50%* :x", {"search": ("12:30", "50%*", ":x")}),
    ("worker:web-3:4211", {"worker": "web-3:4211"}),
    ("until:2026-11-27T10:00", {"until": datetime(2026, 11, 27, 10, tzinfo=UTC)}),
    ("since:2026-11-27T10:00+02:00", {"since": datetime(2026, 11, 27, 8, tzinfo=UTC)}),
    ("error:*Timeout*", {"error": "*Timeout*"}),
])  # fmt: skip
def test_meaning(text: str, means: dict[str, Any]) -> None:
    assert query.parse(text, NOW) == Filters(**means)


@pytest.mark.parametrize(("text", "said"), [
    ("stat:dead", "there is no field 'stat'; did you mean state:?"),
    ("status:dead", "did you mean state:?"),
    ("colour:red", "The fields are state, task, queue, worker, error, tag, since, until"),
    ("customer:7", 'For a tag write tag:customer:7, and for a text "customer:7"'),
    ("state:retryng", "'retryng' is not a state; did you mean 'retrying'? The states are queued, "),
    ("state:failed", "did you mean 'dead'?"),
    ("state:unknown", "'unknown' is not a state"),
    ("since:yesterday", "since: 'yesterday' is not a time; write 2h, 30m, 7d or 2026-01-31T08:00"),
    ("until:99999999999d", "until: '99999999999d' is further away than a calendar reaches"),
    ("since:1h until:2h", "no job was enqueued since 2026-11-27 11:00:00 and before 2026-11-27 10:00:00"),
    ("task:", "task: needs a value: of this task"),
    ('queue:""', "queue: needs a value"),
    ("state:dead state:queued", "state is given twice"),
    ("tag:a*", 'a tag has no wildcards; for the star itself write "a*"'),
    ("task:*a*b*c*d*", "has more than 4 wildcards"),
    ('"open', "is not closed"),
    ('" "', "is no text to look for"),
    ("x" * 1001, "the query has 1001 characters; at most 1000 are allowed"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        query.parse(text, NOW)
    assert said in str(refused.value)


def test_queries_are_joined_unless_they_say_the_same_field() -> None:
    one, other = Filters(task="a", search=("x",)), Filters(queue="b", search="y")
    assert query.joined(one, other) == Filters(task="a", queue="b", search=("x", "y"))
    assert query.joined(one, Filters()) == one
    with pytest.raises(InvalidQuery, match="task is given twice"):
        query.joined(one, Filters(task="c"))
    with pytest.raises(InvalidQuery, match="no job was enqueued"):
        query.joined(Filters(since=NOW), Filters(until=NOW))


@pytest.mark.parametrize(("error", "type_", "fits"), [
    ("timeout", "TimeoutError", True),
    ("timeout", "requests.exceptions.Timeout", True),
    ("TIMEOUTERROR", "TimeoutError", True),
    ("timeout", "requests.exceptions.ReadTimeout", False),
    ("*timeout", "requests.exceptions.ReadTimeout", True),
    ("*out", "TimeoutError", False),
    ("requests.*", "requests.exceptions.ReadTimeout", True),
    ("Key", "KeyError", True),
    ("KeyError", "shop.MonkeyError", False),
    ("OSError", "", False),
])  # fmt: skip
def test_types_of_errors(error: str, type_: str, fits: bool) -> None:
    row: Any = {"error": type_}
    assert Filters(error=error).admits(row) is fits
    assert any(patterns.fits(type_.lower(), each.lower()) for each in types_of(error)) is fits
