"""What makes two deaths one incident, and which frames of a traceback are the user's own."""

from __future__ import annotations

import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.domain.fingerprint import cause
from flask_nightshift.domain.frames import folded, frames, raised_at

LIBRARY = (
    '  File "/srv/venv/lib/python3.12/site-packages/requests/api.py", line 59, in get\n    return request()\n'
)
CELERY = '  File "/srv/venv/lib/python3.12/site-packages/celery/app/trace.py", line 1, in trace_task\n    R = fun()\n'
OURS = '  File "/srv/venv/lib/python3.12/site-packages/flask_nightshift/task/protection.py", line 9, in run\n    x\n'
STANDARD = '  File "/usr/lib/python3.12/socket.py", line 3, in connect\n    y\n'
BEGIN = "Traceback (most recent call last):\n"


def trace(
    line: int = 7, root: str = "/srv/release-1", source: str = "get(url)", message: str = "refused"
) -> str:
    own = f'  File "{root}/shop/tasks.py", line {line}, in send\n    {source}\n    ^^^^^^^^\n'
    return f"{BEGIN}{CELERY}{OURS}{own}{LIBRARY}{STANDARD}OSError: {message}\n"


def of(
    task: str = "mail.send", error: str = "OSError", reason: str = "exhausted", text: str | None = None
) -> str:
    return cause(reason, task, error, trace() if text is None else text).fingerprint


class TestFingerprint:
    def test_a_deployment_moves_lines_and_folders(self) -> None:
        assert of(text=trace(line=9, root="/srv/release-2")) == of()
        assert of(text=trace(message="refused 17 at 12:00")) == of()
        assert of(reason="permanent") == of()

    def test_another_cause_is_another_incident(self) -> None:
        others = {of(task="u"), of(error="ValueError"), of(text=trace(source="raise OSError()")), of(text="")}
        assert len(others | {of()}) == 5
        assert of(error="", text="", reason="expired") != of(error="", text="", reason="delivery_limit")

    def test_the_place_is_the_users_own_innermost_frame(self) -> None:
        assert cause("exhausted", "t", "E", trace()).place == "shop/tasks.py:send"

    def test_an_app_that_is_installed_as_a_package(self) -> None:
        text = trace().replace("/srv/release-1/shop", "/srv/venv/lib/python3.12/site-packages/shop")
        assert cause("exhausted", "t", "E", text).place == "shop/tasks.py:send"

    def test_only_the_error_that_was_raised_last_counts(self) -> None:
        first = f'{BEGIN}  File "/srv/shop/a.py", line 1, in first\n    a\nKeyError: 1\n\nDuring handling of …\n\n'
        assert of(text=first + trace()) == of()

    @given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=2000))
    def test_every_text_has_a_cause(self, task: str, error: str, text: str) -> None:
        found = cause("rejected", task, error, text)
        assert len(found.fingerprint) == 12
        assert found == cause("rejected", task, error, text)


class TestFrames:
    def test_a_real_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            sys.intern(str(1 / 0))
        text = "".join(traceback.format_exception(caught.value))
        found = raised_at(text)
        assert found is not None
        assert (found.function, found.source) == ("test_a_real_traceback", "sys.intern(str(1 / 0))")

    def test_libraries_are_folded_and_nothing_is_lost(self) -> None:
        text = (
            f"{trace()}\nThe above exception was the direct cause of the following exception:\n\n{trace(9)}"
        )
        parts = folded(text)
        assert [part.hidden for part in parts if part.hidden] == [2, 2, 2, 2]
        assert [line for part in parts for line in part.lines] == text.splitlines()
        assert any("in send" in line for part in parts if not part.hidden for line in part.lines)

    def test_nothing_is_folded_where_no_frame_is_the_users_own(self) -> None:
        assert [part.hidden for part in folded(f"{BEGIN}{CELERY}{OURS}E: x")] == [0]

    @given(st.text(max_size=3000))
    def test_any_text_comes_back_whole(self, text: str) -> None:
        assert [line for part in folded(text) for line in part.lines] == text.splitlines()
        assert isinstance(frames(text), list)
