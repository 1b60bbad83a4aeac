"""Test suites that use the fixture ``nightshift_jobs``, as people write them: that of the how-to, and others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT
from workshop import APPS

PAGE = ROOT / "docs" / "how-to" / "test.md"
FILE = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


def run(folder: Path, *argv: str) -> str:
    """Run ``python -m ARGV`` in ``folder``, without our own settings of pytest; returns its output."""
    mine = ("NIGHTSHIFT_", "FLASK_", "PYTEST_", "COV_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(mine)} | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return f"{done.stdout}{done.stderr}\nexit {done.returncode}"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The files of the how-to, in a folder."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p celery.contrib.pytest\n")
    for name, code in FILE.findall(PAGE.read_text()):
        (tmp_path / name).write_text(code)
    return tmp_path


def test_the_examples_of_the_how_to(suite: Path) -> None:
    """Also those of other suites, in two processes: one app for each test, for a session, and Celery's fixtures."""
    for file in (APPS / "suites").glob("*.py"):
        shutil.copy(file, suite)
    session = "test_rolled_back.py"  # its app context lasts as long as the process
    for which in (("-n", "2", "--dist", "loadfile", "--ignore", session), (session,)):
        said = run(suite, "pytest", "-q", *which)
        assert re.search(r"\b(\d+) passed", said), said
        assert "failed" not in said, said
        assert "error" not in said.lower().replace("raise_errors", ""), said
        assert said.endswith("exit 0"), said
    assert run(suite, "unittest", "-q", "test_unittest").endswith("exit 0")


def test_a_test_that_loses_jobs_or_has_no_app_fails(suite: Path) -> None:
    for folder, code in (("lost", LOST), ("alone", "def test_alone(nightshift_jobs): ...\n")):
        (suite / folder).mkdir()
        (suite / folder / f"test_{folder}.py").write_text(code)
    (suite / "conftest.py").rename(suite / "lost" / "conftest.py")
    said = run(suite, "pytest", "-q", "-rA", "-p", "no:xdist", "lost", "alone")
    assert "PASSED lost/test_lost.py::test_lost\n" in said, said
    assert "ERROR lost/test_lost.py::test_lost - AssertionError: Jobs waited for a transaction" in said, said
    assert "  mail.welcome(1) in the queue 'celery': it was rolled back, or closed without commit()" in said
    assert "FAILED lost/test_lost.py::test_failed - ZeroDivisionError" in said
    assert "ERROR lost/test_lost.py::test_failed" not in said, "a test that failed has one reason already"
    assert "write a fixture 'app' that returns it, or override the fixture 'nightshift_app'" in said, said


LOST = """
from shop import db, welcome

def lose(app):
    with app.app_context():
        welcome.delay_on_commit(1)
        db.session.rollback()

def test_lost(app, nightshift_jobs):
    lose(app)

def test_failed(app, nightshift_jobs):
    lose(app)
    1 / 0
"""
