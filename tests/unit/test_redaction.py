"""Arguments are hidden by their names, at any depth, and nothing else is."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.message.arguments import Texts, by_name
from flask_nightshift.message.headers import HISTORY
from flask_nightshift.options.call import unencodable_argument
from flask_nightshift.text.redaction import Redaction

USUAL = Redaction()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


class Login(NamedTuple):
    user: str
    password: str


def reset(user_id: int, password: str, *tokens: str, note: str = "", **more: Any) -> None:
    """A task's function."""


def texts(function: Any = reset, redaction: Redaction = USUAL) -> Texts:
    return Texts(redaction, redaction.positions(function))


@pytest.mark.parametrize(
    "name", ["password", "PASSWORD", "user_password", "userPassword", "passwords", "X-API-Key", "apikey", "csrftoken",
             "Authorization", "Set-Cookie", "client.secret", "old passwd"]
)  # fmt: skip
def test_a_name_is_hidden_that_contains_a_secret_one(name: str) -> None:
    assert USUAL.hides(name)
    assert USUAL.value({name: 1}) == {name: "***"}


@pytest.mark.parametrize("name", ["user", "pass_", "word", "", "key", 7, None, b"password"])
def test_others_are_not(name: object) -> None:
    assert not USUAL.hides(name)


def test_positional_arguments_have_the_names_of_their_parameters() -> None:
    shown = texts()
    assert shown.args((7, "hunter2")) == "(7, '***')"
    assert shown.args([7, "hunter2", "t1", "t2"]) == "[7, '***', '***', '***']"
    assert shown.args((7,)) == "(7,)"
    assert texts(None).args((7, "hunter2")) == "(7, 'hunter2')"
    bound = type("C", (), {"run": lambda self, secret, n: None})().run
    assert texts(bound).args(("s", 1)) == "('***', 1)"


def test_names_count_at_any_depth() -> None:
    shown = texts()
    assert shown.args(({"a": [{"Token": "t"}]}, "p")) == "({'a': [{'Token': '***'}]}, '***')"
    assert shown.kwargs({"note": "n", "password": ["p"]}) == "{'note': 'n', 'password': '***'}"
    assert shown.kwargs({"note": {"api_key": 1}}) == "{'note': {'api_key': '***'}}"
    assert shown.kwargs({"note": (Login("ada", "p"),)}) == "{'note': (Login(user='ada', password='***'),)}"
    assert "hunter2" not in texts(None).args((Login("ada", "hunter2"), OrderedDict(cookie="hunter2")))


def test_a_long_secret_is_hidden_and_not_cut() -> None:
    assert texts().args((1, "x" * 5000)) == "(1, '***')"
    assert len(texts().args(("x" * 5000, "p"))) == 1024


def test_what_is_nested_too_deep_is_hidden() -> None:
    nested: Any = {"password": "hunter2"}
    for _ in range(150):
        nested = [nested]
    assert "hunter2" not in texts(None).args((nested, {}))
    endless: list[Any] = [{}]
    endless.append(endless)
    assert texts(None).args((endless,))


def test_no_names_hide_nothing() -> None:
    nothing = Redaction(())
    assert texts(redaction=nothing).args((1, "p", {"token": 1})) == "(1, 'p', {'token': 1})"
    assert texts(redaction=nothing).kwargs({"password": 1}) == "{'password': 1}"


def test_own_names() -> None:
    own = Redaction(("iban",))
    assert own.value({"IBAN_to": 1, "password": 2}) == {"IBAN_to": "***", "password": 2}


@given(values)
def test_what_has_no_secret_name_stays_the_same_object(value: Any) -> None:
    assert Redaction(("longer than any name",)).value(value) is value


class TestTextsOfMessages:
    BODY = json.dumps([[7, "hunter2"], {"note": {"token": "t0k3n"}}, {}]).encode()
    SHOWN = ('[7, "***"]', '{"note": {"token": "***"}}')

    def test_ours_hides_in_the_body_what_the_header_hid(self) -> None:
        headers = {"argsrepr": "(7, '***')", "kwargsrepr": "{'note': {'token': '***'}}", HISTORY: {}}
        assert texts().of(headers, self.BODY) == self.SHOWN

    @pytest.mark.parametrize(
        "argsrepr", [None, "(7, 'hunter2')", "[7, 'hunter2']", "(7, 'hunte...", "7 and hunter2"]
    )
    def test_of_an_earlier_release_or_another_producer(self, argsrepr: str | None) -> None:
        assert texts().of({"argsrepr": argsrepr}, self.BODY) == self.SHOWN

    def test_the_callers_own_text_stays(self) -> None:
        assert texts().of({"argsrepr": "(user 7)"}, self.BODY)[0] == "(user 7)"

    def test_a_body_that_cannot_be_read(self) -> None:
        ours = {"argsrepr": "(7, '***')", "kwargsrepr": "{}", HISTORY: {}}
        assert texts().of(ours, b"\x80pickled") == ("(7, '***')", "{}")
        theirs = {"argsrepr": "(7, 'hunter2')", "kwargsrepr": "{'token': 't0k3n'}"}
        assert texts().of(theirs, b"\x80pickled") == ("***", "***")
        assert texts(None).of({"argsrepr": "(1,)", "kwargsrepr": "{}"}, b"") == ("(1,)", "{}")

    def test_the_history_has_one_form_whoever_writes_it(self) -> None:
        told = ("(7, '***')", "{'note': {'token': '***'}}")
        ours = {"argsrepr": told[0], "kwargsrepr": told[1], HISTORY: {}}
        theirs = {"argsrepr": "(7, 'hunter2')", "kwargsrepr": "{'note': {'token': 't0k3n'}}"}
        none: dict[str, Any] = {}
        for headers in (ours, theirs, none, {HISTORY: none}):
            assert texts().recorded(headers, self.BODY) == told
        assert texts().recorded({"argsrepr": "(user 7)"}, self.BODY) == ("(user 7)", told[1])
        assert texts().recorded(ours, b"\x80pickled") == told
        assert texts().recorded(theirs, b"\x80pickled") == ("***", "***")
        assert texts().recorded({}, b"[1]") == ("", "")

    def test_the_headers_of_another_producer_are_changed_only_where_they_show_it(self) -> None:
        args, kwargs, _ = json.loads(self.BODY)
        headers = {"argsrepr": "(7, 'hunter2')", "kwargsrepr": "{'note': {'token': 't0k3n'}}"}
        texts().hide(headers, args, kwargs)
        assert headers == {"argsrepr": "(7, '***')", "kwargsrepr": "{'note': {'token': '***'}}"}
        own = {"argsrepr": "(user 7)"}
        texts().hide(own, args, kwargs)
        assert own == {"argsrepr": "(user 7)"}
        plain = {"argsrepr": "(1,)", "kwargsrepr": "{}"}
        by_name(None).hide(plain, [1], {})
        assert plain == {"argsrepr": "(1,)", "kwargsrepr": "{}"}


def test_an_error_about_an_argument_hides_it() -> None:
    found = unencodable_argument("t", reset, (1, {"x": object()}), {}, "json", USUAL)
    assert "the argument 'password' of t is '***'" in str(found)
    found = unencodable_argument("t", reset, (1,), {"note": {"token": "t0k3n", "x": object()}}, "json", USUAL)
    assert "'token': '***'" in str(found)
    assert "t0k3n" not in str(found)
