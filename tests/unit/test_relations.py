"""What a message says about a job's connections, and the tree that they make."""

from __future__ import annotations

from typing import Any

import pytest

from flask_nightshift.domain.job import JobState
from flask_nightshift.domain.relations import MOST_FOLLOWING, Announced
from flask_nightshift.domain.relatives import Branch, Family, Relative, tree
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.message.relations import relations_in, relations_of


def signature(job_id: str, task: str = "t", **more: Any) -> dict[str, Any]:
    return {"task": task, "args": [], "kwargs": {}, "options": {"task_id": job_id}, **more}


def headers(job_id: str = "j1", **more: Any) -> dict[str, Any]:
    return {"id": job_id, "root_id": job_id, **more}


def test_an_ordinary_job_has_none() -> None:
    assert relations_of(headers(), {}) is None
    assert relations_of(headers(parent_id=None, group=None), {"chain": None, "chord": None}) is None
    assert relations_of({"id": "j1"}, None) is None


def test_parent_root_and_group() -> None:
    found = relations_of(headers(parent_id="p", root_id="r", group="g"), {})
    assert found is not None
    assert found[:4] == ("p", "r", "g", None)


def test_a_chain_announces_what_follows_in_its_order() -> None:
    found = relations_of(headers(), {"chain": [signature("j3", "last"), signature("j2", "second")]})
    assert found is not None
    assert found.announced == (Announced("j2", "second", "j1"), Announced("j3", "last", "j2"))


def test_a_long_chain_announces_the_next_ones_and_the_last() -> None:
    chain = [signature(f"j{number}") for number in range(500, 1, -1)]
    found = relations_of(headers(), {"chain": chain})
    assert found is not None
    assert len(found.announced) == MOST_FOLLOWING + 1
    assert found.announced[-1] == Announced("j500", "t", "j499")


def test_a_part_of_a_chord_announces_its_body() -> None:
    found = relations_of(headers(group="g"), {"chord": signature("b", "sum", chord_size=3)})
    assert found is not None
    assert (found.chord, found.announced) == ("b", (Announced("b", "sum", None, 3),))


def test_a_chord_whose_body_is_a_chain() -> None:
    body = {"task": "celery.chain", "kwargs": {"tasks": [signature("b1", "sum"), signature("b2", "store")]}}
    found = relations_of(headers(group="g"), {"chord": body})
    assert found is not None
    assert found.chord == "b1"


def test_groups_and_chords_within_a_chain() -> None:
    header = {"task": "celery.group", "kwargs": {"tasks": [signature("h1"), signature("h2")]}}
    chord = {"task": "celery.chord", "kwargs": {"header": header, "body": signature("b", "sum")}}
    group = {"task": "celery.group", "kwargs": {"tasks": [signature("x")]}, "options": {"task_id": "g2"}}
    found = relations_of(headers(), {"chain": [group, chord]})
    assert found is not None
    assert found.announced == (Announced("b", "sum", "j1", 2), Announced("g2", "group of 1", "b"))


@pytest.mark.parametrize(
    "embed",
    [7, [], {"chain": 7}, {"chain": [7, None, {}]}, {"chord": "x"}, {"chord": {"options": 7}},
     {"chain": [{"task": "celery.chord", "kwargs": {"header": 7, "body": None}}]},
     {"chain": [{"task": "celery.chain", "kwargs": 7}]}, {"chain": [signature(7)]}],  # type: ignore[arg-type]
)  # fmt: skip
def test_nothing_is_made_of_what_is_no_signature(embed: Any) -> None:
    assert relations_of(headers(), embed) is None
    assert relations_of(headers(parent_id=7, group=[], root_id={}), embed) is None


def test_a_signature_within_itself() -> None:
    inner: dict[str, Any] = {"task": "celery.chain", "kwargs": {"tasks": []}}
    inner["kwargs"]["tasks"].append(inner)
    assert relations_of(headers(), {"chain": [inner]}) is None


def test_an_encoded_message() -> None:
    body = b'[[], {}, {"chain": [{"task": "t", "options": {"task_id": "j2"}}]}]'
    found = relations_in(Envelope(body, headers()))
    assert found is not None
    assert found.announced == (Announced("j2", "t", "j1"),)
    assert relations_in(Envelope(b'"chain"', headers())) is None
    assert relations_in(Envelope(b"\x80 chain", headers(), content_type="application/x-pickle")) is None


def shape(branches: tuple[Branch, ...]) -> Any:
    return [(each.job.job_id, shape(each.parts), shape(each.children)) for each in branches]


def family(this: str, *members: Relative) -> Family:
    found = {one.job_id: one for one in members}
    return Family(found[this], found)


def test_the_tree_of_a_chain() -> None:
    chain = family(
        "b",
        Relative("a", state=JobState.SUCCEEDED),
        Relative("b", state=JobState.RUNNING, parent_id="a"),
        Relative("c", parent_id="b"),
        Relative("d", parent_id="c"),
    )
    assert shape(tree(chain)) == [("a", [], [("b", [], [("c", [], [("d", [], [])])])])]
    assert [one.job_id for one in chain.following()] == ["c", "d"]


def test_the_body_of_a_chord_stands_where_its_parts_would() -> None:
    chord = family(
        "p1",
        Relative("a"),
        Relative("p1", parent_id="a", chord_id="z"),
        Relative("p2", parent_id="a", chord_id="z"),
        Relative("z", parent_id="p2", group_id="g"),
        Relative("zz", parent_id="z"),
    )
    parts: Any = [("p1", [], []), ("p2", [], [])]
    assert shape(tree(chord)) == [("a", [], [("z", parts, [("zz", [], [])])])]


def test_a_circle_ends() -> None:
    assert shape(tree(family("a", Relative("a", parent_id="a")))) == [("a", [], [])]
    two = family("a", Relative("a", chord_id="b"), Relative("b", chord_id="a"))
    assert isinstance(shape(tree(two)), list)
