"""``flask jobs dashboard`` serves the dashboard alone; ``--link`` prints a way into an app that runs."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.cli import jobs as jobs_command
from flask_nightshift.observe.doctor import examine
from servers import Valkey, free_port, wait_for
from system import running


def test_it_serves_this_machine_and_opens_once(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url()) as system:
        port = free_port()
        process = system.command("dashboard", "--port", str(port))
        found = wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:\d+\S+", process.log), 30, "no link is printed"
        )
        link = found[0]
        assert link.startswith(f"http://127.0.0.1:{port}/nightshift/open/")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/nightshift/").status_code == 403
            assert client.get("/enqueue/test.succeed").headers["Location"] == "/nightshift/"
            assert client.get(link).status_code == 200
            page = client.get("/nightshift/")
            assert page.status_code == 200
            assert "Is it well?" in page.text
        assert httpx.get(link).status_code == 403
        process.signal(signal.SIGINT)
        assert process.popen.wait(10) == 0


def test_a_link_for_a_running_app_needs_its_secret_key(tmp_path: Path) -> None:
    app = Flask("linked", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = "memory://"
    Nightshift(app)
    runner = app.test_cli_runner()
    words = ["dashboard", "--link", "https://shop.example.com/"]
    refused = runner.invoke(jobs_command, words)
    assert refused.exit_code == 1
    assert "SECRET_KEY" in refused.output
    app.config["SECRET_KEY"] = "a key"
    printed = runner.invoke(jobs_command, words)
    assert printed.output.startswith("https://shop.example.com/nightshift/open/")
    off = Flask("off", instance_path=str(tmp_path / "off"))
    off.config.update(NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DASHBOARD_PREFIX="off")
    Nightshift(off)
    refused = off.test_cli_runner().invoke(jobs_command, ["dashboard"])
    assert "NIGHTSHIFT_DASHBOARD_PREFIX" in refused.output


def test_the_doctor_says_what_keeps_it_closed(tmp_path: Path) -> None:
    app = Flask("ill", instance_path=str(tmp_path))
    app.config.update(NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DASHBOARD_AUTH="nowhere.at:all")
    Nightshift(app)
    app.get("/nightshift/", endpoint="mine")(lambda: "mine")
    with app.app_context():
        found = [each for each in examine(app.extensions["nightshift"]) if each.check == "dashboard"]
    assert [each.level for each in found] == ["error", "error", "warning"]
    assert "SECRET_KEY" in found[0].message
    assert "nowhere.at:all" in found[1].message
    assert "NIGHTSHIFT_DASHBOARD_PREFIX" in found[2].remedy
