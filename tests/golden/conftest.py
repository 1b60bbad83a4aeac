"""``golden({name: value, …})`` compares each value with the stored file of that name, or stores it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parent / "files"
Golden = Callable[[dict[str, Any]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Store what is seen now in tests/golden/files."
    )


@pytest.fixture
def updating(pytestconfig: pytest.Config) -> bool:
    """Whether files are stored, and not compared."""
    return bool(pytestconfig.getoption("--update-golden", default=False))


@pytest.fixture
def golden(updating: bool) -> Golden:
    """Compare texts, or values as JSON, with the files of their names; a failure shows how each file differs."""

    def compare(seen: dict[str, Any]) -> None:
        texts = {FILES / name: _text(value) for name, value in seen.items()}
        if updating:
            for path, text in texts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        if changes := "".join(_changes(path, text) for path, text in texts.items()):
            pytest.fail(
                f"not as stored; if that is meant: pytest tests/golden --update-golden\n{changes}",
                pytrace=False,
            )

    return compare


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=repr)
    return text.rstrip("\n") + "\n"


def _changes(path: Path, seen: str) -> str:
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = (stored.splitlines(keepends=True), seen.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, str(path.relative_to(FILES)), "now", n=2))
