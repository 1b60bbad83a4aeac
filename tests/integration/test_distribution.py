"""The wheel and the sdist that ``python -m build`` makes have every file of the packages, and no other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from places import ROOT

PACKAGES = ("flask_nightshift", "flask_nightshift_alembic", "flask_nightshift_pytest")
BESIDE = {"README.md", "LICENSE", "CHANGELOG.md", "UPGRADING.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
"""What the sdist has beside the packages; the build adds PKG-INFO and .gitignore."""


def sources() -> set[str]:
    """The files of the packages, from ``src`` on; Python and editors leave others beside them."""
    folders = (ROOT / "src" / package for package in PACKAGES)
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(ROOT / "src").as_posix() for path in files if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built from a copy with the files that a careless developer has."""
    folder = tmp_path_factory.mktemp("distribution")
    clone, out = folder / "clone", folder / "dist"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", "instance", "docs", "tests", "__pycache__", ".mypy_cache"
    )
    shutil.copytree(ROOT, clone, ignore=ignored)
    package = clone / "src/flask_nightshift"
    for stray in (
        package / "__pycache__/errors.cpython-311.pyc",
        package / "instance/nightshift.sqlite3",
        clone / ".env",
    ):
        stray.parent.mkdir(exist_ok=True)
        stray.write_text("secret")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(clone)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(built: Path) -> Message:
    with wheel(built) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_wheel_has_the_packages_and_nothing_else(built: Path) -> None:
    with wheel(built) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    assert names == sources()
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


@pytest.mark.parametrize(
    "pattern",
    [
        r"flask_nightshift/py\.typed",
        r"flask_nightshift/web/dashboard/templates/.*\.html",
        r"flask_nightshift/web/dashboard/static/.*\.js",
        r"flask_nightshift/web/dashboard/static/.*\.css",
        r"flask_nightshift/store/migrations/versions/r0001_\w+\.py",
        r"flask_nightshift/brokers/redis/.*\.lua",
    ],
)
def test_the_wheel_has_files_that_are_not_imported(built: Path, pattern: str) -> None:
    with wheel(built) as archive:
        assert [name for name in archive.namelist() if re.fullmatch(pattern, name)]


def test_the_sdist_has_what_the_wheel_is_built_from_and_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert names == {f"src/{name}" for name in sources()} | BESIDE


def test_the_metadata(built: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = metadata(built)
    assert (told["Name"], told["Version"]) == (project["name"], project["version"])
    assert set(told.get_all("Provides-Extra", [])) == {"embedded", "mcp", "otel", "postgres"}, (
        "the others are for developers"
    )
    assert project["description"] in str(told["Summary"])
    assert "# " in str(told.get_payload()), "the README is missing"
