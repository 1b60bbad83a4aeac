"""``flask jobs up`` with the shop: it starts, stops, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from servers import wait_for
from shop_stack import ROOT, ShopStack

from shop.partner import create_partner  # isort: skip  # after shop_stack, which says where it is
from werkzeug.serving import make_server


class SlowPartner:
    """A partner in this process, so that it outlives the stack; ``/slow`` answers when ``answer`` is set."""

    def __init__(self) -> None:
        self.called, self.answer = threading.Event(), threading.Event()
        app = create_partner()
        app.add_url_rule("/slow", view_func=self._slow, methods=["POST"])
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _slow(self) -> str:
        self.called.set()
        self.answer.wait(60)
        return "done"

    def close(self) -> None:
        self.answer.set()
        self._server.shutdown()


@pytest.fixture
def shop() -> Iterator[ShopStack]:
    stack = ShopStack()
    yield stack
    stack.close()


@pytest.fixture
def partner() -> Iterator[SlowPartner]:
    partner = SlowPartner()
    yield partner
    partner.close()


def stopped_in_order(text: str) -> bool:
    """The broker's line is the last one, and the worker's stands before it."""
    lines = [line for line in text.splitlines() if line.endswith(" stopped")]
    return lines[-1].endswith("broker stopped") and any(line.endswith("worker stopped") for line in lines)


def process_of(shop: ShopStack) -> subprocess.Popen[bytes]:
    assert shop.process is not None, "it was not started"
    return shop.process


def test_ctrl_c_lets_a_running_job_finish_and_leaves_no_process(
    shop: ShopStack, partner: SlowPartner
) -> None:
    shop.start()
    job_id = shop.enqueue("/hooks", {"url": f"{partner.url}/slow", "payload": {}})
    assert partner.called.wait(20)

    process_of(shop).send_signal(signal.SIGINT)
    wait_for(lambda: "SIGINT: stopping" in shop.text(), 10, "it does not stop")
    wait_for(lambda: "worker.stopping" in shop.text(), 10, "the worker does not stop")
    partner.answer.set()

    assert process_of(shop).wait(30) == 0, shop.text()[-3000:]
    assert shop.events("job.succeeded", job_id)
    assert shop.family() == []
    assert stopped_in_order(shop.text())


@pytest.mark.thorough
def test_the_second_start_finds_what_the_first_had_queued(shop: ShopStack, partner: SlowPartner) -> None:
    shop.start()
    job_id = shop.enqueue("/hooks", {"url": f"{partner.url}/busy", "payload": {"order": 1}})
    wait_for(lambda: shop.events("job.retrying", job_id), 20, "no retry")  # due in 3 s, as the partner asks
    assert shop.stop() == 0
    assert not shop.events("job.succeeded", job_id)

    shop.start()
    job = shop.wait_for_state(job_id, "succeeded")
    assert job["attempts"] == 2
    assert job["result"] == {"status": 200}
    assert shop.stop(signal.SIGTERM) == 0


@pytest.mark.thorough
def test_beat_cleans_up_for_real(shop: ShopStack) -> None:
    every_second = {"clean": {"task": "shop.clean_up", "schedule": 1}}
    shop.environ |= {"SHOP_SESSION_HOURS": "0", "NIGHTSHIFT_SCHEDULE": json.dumps(every_second)}
    shop.start()
    shop.enqueue("/signup", {"name": "Ada", "email": "ada@example.org"})  # with a session that has expired
    wait_for(lambda: '"sessions": 1' in shop.text(), 20, "nothing was cleaned up")
    assert shop.stop() == 0


def test_a_process_that_ends_by_itself_ends_the_rest_with_its_exit_code(shop: ShopStack) -> None:
    shop.start()
    shop.named("worker").kill()
    assert process_of(shop).wait(40) == 128 + signal.SIGKILL
    assert "worker was killed by signal 9: the rest is stopped too" in shop.text()
    assert shop.family() == []


def test_a_second_stop_signal_stops_at_once(shop: ShopStack, partner: SlowPartner) -> None:
    shop.start()
    shop.enqueue("/hooks", {"url": f"{partner.url}/slow", "payload": {}})
    assert partner.called.wait(20)
    process_of(shop).send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM: stopping" in shop.text(), 10, "it does not stop")
    process_of(shop).send_signal(signal.SIGTERM)
    assert process_of(shop).wait(10) == 1
    assert "worker is killed: asked again to stop" in shop.text()
    assert shop.family() == []


@pytest.mark.thorough
def test_a_killed_up_takes_its_processes_along_and_the_next_start_continues(
    shop: ShopStack, partner: SlowPartner
) -> None:
    shop.start()
    running = shop.enqueue("/hooks", {"url": f"{partner.url}/slow", "payload": {}})
    assert partner.called.wait(20)
    delayed = shop.enqueue("/hooks", {"url": f"{partner.url}/busy", "payload": {"order": 1}})
    wait_for(lambda: shop.events("job.retrying", delayed), 20, "no retry")
    process_of(shop).kill()
    process_of(shop).wait()
    wait_for(lambda: shop.family() == [], 10, "some of its processes live on")

    partner.answer.set()
    shop.start()
    for job_id in (running, delayed):
        shop.wait_for_state(job_id, "succeeded")
    assert shop.stop() == 0
    assert shop.family() == []


def test_a_port_that_is_taken_is_named(shop: ShopStack) -> None:
    with socket.socket() as other, contextlib.closing(other):
        other.bind(("127.0.0.1", shop.port))
        other.listen()
        done = subprocess.run(
            shop.command("up"), env=shop.environ, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert f"Port {shop.port}" in done.stderr
    assert f"PORT={shop.port + 1}" in done.stderr
    assert "Traceback" not in done.stderr


def answered(shop: ShopStack) -> Any:
    """The answer of the health page; pytest shows the output, with the part that fails, if the test fails."""
    answer = shop.request("/health/ready")
    print(answer)
    return answer


def test_flask_jobs_up_runs_any_app(shop: ShopStack) -> None:
    """Without the shop's own helpers: the command that every app has."""
    process: Any = subprocess.Popen(
        shop.command("jobs", "up", "--port", str(shop.port)),
        env=shop.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "─ ready ─" in line:
                break
        assert not [line for line in said if "has no effect" in line]
        # web has two processes, and each looks for itself: on a busy machine the first look may take too long
        wait_for(lambda: answered(shop)["status"] == "ready", 20, "the other process of web is not ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.stdout.close()


@pytest.mark.thorough
def test_a_program_that_is_not_there_stops_what_was_started(shop: ShopStack) -> None:
    code = """
from shop import create_app
from flask_nightshift.up import up
raise SystemExit(up(create_app(), port=int(__import__("os").environ["PORT"]), also={"radio": "no-such-program --loud"}))
"""
    environ = {**shop.environ, "PYTHONPATH": str(ROOT / "examples"), "FLASK_APP": "shop"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 127, done.stderr
    assert "radio cannot be started: " in done.stdout
    assert "broker stopped" in done.stdout
    assert shop.family() == []
