"""A slow partner, for a job that a test kills while it runs; standard library only.

``POST /slow?hold=40`` answers after 40 s to the first call with a key (``Idempotency-Key``), and at once to later ones,
so the second run of a job ends soon. ``GET /calls`` lists the calls in order: ``[{"key", "client", "at"}]``, ``at`` in
seconds since the epoch, ``client`` the caller's address.
"""

from __future__ import annotations

import contextlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

calls: list[dict[str, object]] = []


class Partner(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"]
        first = all(call["key"] != key for call in calls)
        calls.append({"key": key, "client": self.client_address[0], "at": time.time()})
        self.rfile.read(int(self.headers["Content-Length"]))
        if first:
            time.sleep(float(parse_qs(urlsplit(self.path).query)["hold"][0]))
        self._answer(b"{}")

    def do_GET(self) -> None:
        self._answer(json.dumps(calls).encode())

    def _answer(self, body: bytes) -> None:
        with contextlib.suppress(OSError):  # the caller may have been killed: that is what it is for
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8000), Partner).serve_forever()
