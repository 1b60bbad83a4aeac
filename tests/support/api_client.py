"""A client of the HTTP API within the test's process."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
from flask import Flask

from flask_nightshift import services
from flask_nightshift.domain.actor import PERMISSIONS
from flask_nightshift.operations import tokens
from flask_nightshift.web.api import routing

_NUMBERS = itertools.count()
PREFIX = "/nightshift/api/v1"


class Api:
    """Requests with a token that has ``scopes``, by default all."""

    def __init__(self, app: Flask, *scopes: str) -> None:
        self.app = app
        name = f"tests {next(_NUMBERS)}"
        self.made = tokens.create(services.current(app), name, scopes or tuple(PERMISSIONS), by="tests")
        self.name = f"token {name}"
        self.headers = {"Authorization": f"Bearer {self.made.text}"}

    def __call__(
        self, method: str, path: str, status: int = 200, headers: dict[str, str] | None = None, **given: Any
    ) -> Any:
        """The JSON of the answer, which must have ``status``."""
        answer = self.ask(method, path, headers=headers, **given)
        assert answer.status_code == status, answer.text
        wanted = "application/json" if status < 400 else "application/problem+json"
        assert answer.content_type == wanted
        assert answer.headers["Cache-Control"] == "no-store"
        said = answer.get_json(force=True)
        if status < 400:
            name, _ = routing.table().bind("").match(path.partition("?")[0], method)
            shape = routing.ROUTES[name].answer
            assert (
                shape is None or msgspec.convert(said, shape) is not None
            )  # raises if it is not as documented
        return said

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **given: Any) -> Any:
        client = self.app.test_client(use_cookies=False)
        return client.open(PREFIX + path, method=method, headers={**self.headers, **(headers or {})}, **given)

    def get(self, path: str, **query: Any) -> Any:
        return self("GET", path, query_string=query)

    def post(self, path: str, **body: Any) -> Any:
        return self("POST", path, json=body)
