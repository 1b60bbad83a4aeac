"""``celery_worker``, ``celery_app`` and ``celery_session_worker`` of ``celery.contrib.pytest`` with our Celery app."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from workshop import APPS, Workshop

LIBRARY = """
from celery import shared_task

@shared_task(name="library.greet")
def greet(name):
    return f"Hello, {name}"
"""


def test_the_fixtures_of_celery(workshop: Callable[..., Workshop], tmp_path: Path) -> None:
    """Celery's own ``celery.ping`` keeps its result, and so does a task of an installed library."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "a_library.py").write_text(LIBRARY)
    path = os.pathsep.join([str(APPS), str(installed), os.environ.get("PYTHONPATH", "")])
    shop = workshop("celery_pytest", PYTHONPATH=path)
    own = ["-p", "no:xdist", "-p", "no:cacheprovider", f"--rootdir={shop.folder}", f"--confcutdir={APPS}"]
    said = shop.run("pytest", *own, "-c", os.devnull, "-q", str(APPS / "celery_pytest.py"))
    assert "3 passed" in said
