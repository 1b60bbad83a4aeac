"""A relay takes a row that it has seen twice, some seconds apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.outbox.sightings import CLAIM_WAIT, WAIT, Sighting, Sightings


def row(name: str, copy: int = 1, *, claimed: bool = False) -> Sighting:
    return Sighting(name, copy, claimed)


def test_a_row_is_taken_after_two_looks_only() -> None:
    seen = Sightings()
    seen.look([row("a")], 100.0)
    assert seen.take(100.0 + WAIT - 0.1, 10) == []
    seen.look([row("a"), row("b")], 100.0 + WAIT)
    assert seen.take(100.0 + WAIT, 10) == [row("a")]
    assert seen.take(100.0 + WAIT, 10) == [], "it was taken"


def test_a_row_that_went_and_came_begins_anew() -> None:
    seen = Sightings()
    seen.look([row("a")], 0.0)
    seen.look([], 1.0)
    seen.look([row("a")], WAIT)
    assert seen.take(WAIT, 10) == []
    assert len(seen) == 1


def test_a_claim_ends_when_it_was_seen_for_long_with_the_same_number() -> None:
    seen = Sightings()
    claimed = row("a", 2, claimed=True)
    seen.look([claimed], 0.0)
    assert seen.take(CLAIM_WAIT - 0.1, 10) == []
    seen.look([row("a", 3, claimed=True)], CLAIM_WAIT)
    assert seen.take(CLAIM_WAIT, 10) == [], "another relay has claimed it since"
    seen.look([row("a", 3, claimed=True)], 2 * CLAIM_WAIT)
    assert seen.take(2 * CLAIM_WAIT, 10) == [row("a", 3, claimed=True)]


@given(st.lists(st.text(max_size=3), unique=True), st.integers(1, 5))
def test_the_oldest_come_first_and_each_once(names: list[str], most: int) -> None:
    seen = Sightings()
    seen.look(map(row, names), 0.0)
    taken: list[str] = []
    while some := seen.take(WAIT, most):
        assert len(some) <= most
        taken += [each.row_id for each in some]
    assert taken == names
