"""Who may do what."""

from __future__ import annotations

import re

import pytest

from flask_nightshift.domain.actor import LONGEST_NAME, PERMISSIONS, Actor, everything
from flask_nightshift.errors import ConfigurationError

NAMES = ["view", "view_args", "replay", "edit", "discard", "cancel", "pause", "run", "purge"]


def test_each_permission_has_a_sentence() -> None:
    assert list(PERMISSIONS) == NAMES
    assert all(re.fullmatch(r"[A-Z].*\.", said) for said in PERMISSIONS.values())


def test_an_actor_may_only_what_was_granted() -> None:
    viewer = Actor("ann", frozenset({"view"}))
    assert [name for name in PERMISSIONS if viewer.may(name)] == ["view"]
    assert not Actor("nobody").permissions
    assert [name for name in PERMISSIONS if not everything("root", ["purge"]).may(name)] == ["purge"]
    with pytest.raises(KeyError):  # a typing error in a page must not look like "not allowed"
        viewer.may("reply")


def test_permissions_are_copied() -> None:
    given = {"view"}
    actor = Actor("ann", given)  # type: ignore[arg-type]
    given.add("purge")
    assert actor.permissions == {"view"}
    assert hash(actor) == hash(Actor("ann", frozenset({"view"})))


@pytest.mark.parametrize(
    ("name", "permissions", "said"),
    [
        ("ann", frozenset({"admin"}), "'admin' is not usable: use some of view, view_args, replay"),
        ("ann", "view", "'view' is not usable: use a set of names"),
        (" ", frozenset(), f"use 1 to {LONGEST_NAME} characters"),
        ("a" * (LONGEST_NAME + 1), frozenset(), f"use 1 to {LONGEST_NAME} characters"),
    ],
)
def test_mistakes_are_named(name: str, permissions: frozenset[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        Actor(name, permissions)
