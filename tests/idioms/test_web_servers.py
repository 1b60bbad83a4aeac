"""An app that enqueues under each WSGI server, including servers that fork after the app's creation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from servers import free_port
from workshop import Workshop

GUNICORN = ["-m", "gunicorn", "--no-control-socket", "--workers=2", "web:create_app()"]
UWSGI = [
    "uwsgi",
    "--master",
    "--processes=2",
    "--threads=2",
    "--die-on-term",
    "--need-app",
    "--module=web:create_app()",
]
SERVERS = {
    "sync": [*GUNICORN, "--worker-class=sync"],
    "gthread": [*GUNICORN, "--threads=4"],
    "gthread, preloaded": [*GUNICORN, "--threads=4", "--preload"],
    "gevent": [*GUNICORN, "--worker-class=gevent"],
    "gevent, preloaded": [*GUNICORN, "--worker-class=gevent", "--preload"],
    "uwsgi": UWSGI,
    "uwsgi, lazy": [*UWSGI, "--lazy-apps"],
}  # fmt: skip
REQUESTS = 24
FORKING = ["gthread, preloaded", "gevent, preloaded", "uwsgi"]
CASES = [
    *(pytest.param("redis_server", server, marks=pytest.mark.redis) for server in SERVERS),
    *(pytest.param("rabbitmq", server, marks=pytest.mark.rabbitmq) for server in FORKING),
]


@pytest.mark.parametrize(("broker_url", "server"), CASES, indirect=["broker_url"])
def test_jobs_are_enqueued_and_remembered(workshop: Callable[..., Workshop], server: str) -> None:
    port = free_port()
    shop = workshop("web", EARLY="" if server == "uwsgi" else "1")
    command = SERVERS[server]
    if command[0] == "-m":
        web = shop.start("web", *command[1:], f"--bind=127.0.0.1:{port}", ready="Booting worker")
    else:
        options = [f"--http-socket=127.0.0.1:{port}", "--disable-logging"]
        web = shop.start_program("web", *command, *options, ready="spawned uWSGI worker 2")

    url = f"http://127.0.0.1:{port}"
    shop.until(lambda: httpx.get(f"{url}/state/first").status_code == 200, "it does not answer")
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: httpx.post(f"{url}/add", timeout=20), range(REQUESTS)))

    assert {answer.status_code for answer in answers} == {202}, web.log
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == REQUESTS
    ids |= {"first"} if shop.env["EARLY"] else set()
    for job_id in ids:
        shop.until(lambda: httpx.get(f"{url}/state/{job_id}").text == "queued", "a job is not remembered", 10)  # noqa: B023
    web.stop()
    assert "Traceback" not in web.log, web.log
    assert "failed on" not in web.log, web.log
