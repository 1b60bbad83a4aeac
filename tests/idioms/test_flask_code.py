"""Other Flask extensions, ``flask shell`` and test suites work beside Nightshift."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workshop import APPS, Workshop

Make = Callable[..., Workshop]


@pytest.mark.parametrize("broker_url", [pytest.param("redis_server", marks=pytest.mark.redis)], indirect=True)
def test_migrations_and_a_shell_with_a_login(workshop: Make) -> None:
    shop = workshop("accounts")
    shop.database = "accounts.sqlite3"  # where the app has its own tables
    shop.run("flask", "jobs", "migrate")
    shop.run("flask", "db", "init")
    shop.run("flask", "db", "migrate", "-m", "users")
    shop.run("flask", "db", "upgrade")
    assert "drop_table('nightshift" not in "".join(
        path.read_text().partition("def downgrade")[0]
        for path in (shop.folder / "migrations/versions").glob("*.py")
    )
    said = shop.run(
        "flask", "shell",
        stdin="user = User(name='Ada'); db.session.add(user); db.session.commit()\n"
        "greet(user.id)\n"
        "with app.test_request_context(): login_user(user); print('id', greet.delay(user.id).id)\n"
        "\n"
        "print('id', nobody.delay().id)\n",
    )  # fmt: skip
    ids = [
        line.split()[-1] for line in said.splitlines() if " id " in f" {line}" and len(line.split()[-1]) == 36
    ]
    assert len(ids) == 2, said
    assert shop.ledger() == ["accounts greet Ada"], "called as a function"
    shop.start("worker", "flask", "jobs", "worker", "--pool", "solo", ready=" ready")
    assert [shop.until_settled(job_id).state for job_id in ids] == ["succeeded"] * 2, said
    assert shop.ledger() == ["accounts greet Ada", "accounts greet Ada", "accounts nobody None"]


def test_a_test_suite_with_an_app_for_each_test(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, "redis://127.0.0.1:1/0", "suite", APPS="20")
    said = shop.run(
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        f"--confcutdir={APPS}",
        str(APPS / "suite" / "shop_tests.py"),
    )
    assert "40 passed" in said
