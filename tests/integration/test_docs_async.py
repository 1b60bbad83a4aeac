"""The examples of docs/how-to/async.md and links.md run."""

from __future__ import annotations

import asyncio
import gc
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.testing import in_memory

HOW_TO = Path(__file__).parents[2] / "docs/how-to"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)


@pytest.fixture
def pages() -> Iterator[tuple[str, list[str]]]:
    """A web server, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(f"{self.client_address[1]} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_coroutines_share_a_client_that_is_closed_with_the_loop(pages: tuple[str, list[str]]) -> None:
    url, asked = pages
    app_code, client_code, _ = blocks("async.md")
    module: dict[str, Any] = {"__name__": "crawler"}
    exec(app_code + client_code, module)
    app = module["create_app"]()
    with app.app_context(), in_memory(app) as kit:
        module["check"].delay([f"{url}/1", f"{url}/2"])
        kit.run_next()
        assert sorted(each.split()[1] for each in asked) == ["/1", "/2"]
        asked.clear()
        for number in range(3):
            module["ping"].delay(f"{url}/{number}")
        assert [ran.outcome for ran in kit.drain()] == ["succeeded"] * 3
        (client, _) = next(iter(module["_clients"].values()))
        assert not client.is_closed
        assert [each.split()[1] for each in asked] == ["/0", "/1", "/2"]
        assert len({each.split()[0] for each in asked}) == 1, "one connection serves them all"
        answer = app.test_client().post("/check")
        assert answer.status_code == 202
        assert [job.args for job in kit.enqueued(module["check"])] == [[["https://example.com/"]]]
    assert client.is_closed
    del client
    gc.collect()


def test_links_and_translations() -> None:
    (code,) = blocks("links.md")
    module: dict[str, Any] = {"__name__": "letters"}
    exec(code, module)
    app = module["create_app"]()
    with app.app_context():
        assert module["order_letter"](7) == "Your order: https://www.example.com/shop/orders/7"


def test_a_coroutine_task_is_awaited_in_a_view() -> None:
    app_code, *_ = blocks("async.md")
    module: dict[str, Any] = {"__name__": "crawler"}
    exec(app_code, module)
    with module["create_app"]().app_context():

        async def view() -> Any:
            return await module["check"]([])

        assert asyncio.run(view()) is None


def test_a_view_waits_for_a_result() -> None:
    *_, prices = blocks("async.md")
    module: dict[str, Any] = {"__name__": "prices"}
    exec(prices, module)
    app = module["create_app"]()
    with in_memory(app):
        shown = app.test_client().get("/quote/3")
    assert (shown.status_code, shown.get_json()) == (200, {"price": 300})
