"""The shop's endpoints: their errors, and their answers while the broker or the database is down."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import func, select

from servers import Valkey
from shop_app import make_app

from shop.extensions import db  # isort: skip
from shop.models import Photo, Session, User  # isort: skip

ADA = {"name": "Ada", "email": "ada@example.org"}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> Iterator[Flask]:
    app = make_app(tmp_path, monkeypatch, NIGHTSHIFT_BROKER_URL=valkey.fresh_url())
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def picture(size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "navy").save(out, kind)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is ``width`` x ``height``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def upload(client: FlaskClient, data: bytes, name: str = "p.png") -> Any:
    return client.post("/photos", data={"file": (io.BytesIO(data), name)})


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalars(select(func.count()).select_from(model)).one()


def test_each_counter_answers_202_with_its_job(client: FlaskClient) -> None:
    for answer, task in (
        (client.post("/signup", json=ADA), "mail.send_welcome"),
        (upload(client, picture()), "images.make_thumbnails"),
        (
            client.post("/hooks", json={"url": "https://example.org/h", "payload": {}}),
            "partners.deliver_hook",
        ),
    ):
        assert answer.status_code == 202
        job = answer.get_json()["job"]
        assert set(answer.get_json()) == {"job"}
        assert job == {"id": job["id"], "task": task, "status_url": f"/jobs/{job['id']}"}
        assert answer.headers["Location"] == job["status_url"]
        status = client.get(job["status_url"])
        assert status.status_code == 200
        assert set(status.get_json()) == {"id", "task", "state", "attempts", "progress", "result", "error"}
        assert status.get_json()["state"] in {"queued", "unknown"}


def test_a_job_without_a_record_is_unknown(client: FlaskClient) -> None:
    assert client.get("/jobs/no-such-job").get_json()["state"] == "unknown"


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"email": "ada@example.org"}, "name", None),
        ({"name": "   ", "email": "ada@example.org"}, "name", "   "),
        ({"name": "A" * 101, "email": "ada@example.org"}, "name", "A" * 101),
        (
            {"name": "Ada\r\nBcc: all@example.org", "email": "ada@example.org"},
            "name",
            "Ada\r\nBcc: all@example.org",
        ),
        ({"name": 7, "email": "ada@example.org"}, "name", 7),
        ({"name": "Ada"}, "email", None),
        ({"name": "Ada", "email": "ada"}, "email", "ada"),
        ({"name": "Ada", "email": "ada@@example.org"}, "email", "ada@@example.org"),
        ({"name": "Ada", "email": "a..b@example.org"}, "email", "a..b@example.org"),
        ({"name": "Ada", "email": "ada@example.org\nbcc:x@y.org"}, "email", "ada@example.org\nbcc:x@y.org"),
        ({"name": "Ada", "email": "x" * 65 + "@example.org"}, "email", "x" * 65 + "@example.org"),
        ({"name": "Ada", "email": ["ada@example.org"]}, "email", "['ada@example.org']"),
    ],
)
def test_a_wrong_sign_up_names_field_value_and_way_out(
    client: FlaskClient, app: Flask, body: Any, field: str, value: Any
) -> None:
    answer = client.post("/signup", json=body)
    error = answer.get_json()["error"]
    assert answer.status_code == 400
    assert error["field"] == field
    assert error["value"] == value
    assert error["remedy"]
    assert count(app, User) == 0


@pytest.mark.parametrize(
    ("payload", "field"), [("[1]", "body"), ("{", "body"), ("[" * 30_000, "body"), ("", "body")]
)
def test_a_body_that_is_not_a_json_object_is_refused(client: FlaskClient, payload: str, field: str) -> None:
    answer = client.post("/signup", data=payload, content_type="application/json")
    assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, field)


def test_the_error_for_a_form_names_the_content_type(client: FlaskClient) -> None:
    answer = client.post("/signup", data=ADA)
    assert answer.status_code == 400
    assert "application/json" in answer.get_json()["error"]["remedy"]


def test_bodies_are_bounded(client: FlaskClient, app: Flask) -> None:
    answer = client.post("/hooks", json={"url": "https://example.org/", "payload": {"x": "y" * 70_000}})
    assert (answer.status_code, "message" in answer.get_json()["error"]) == (413, True)
    answer = upload(client, b"\0" * (app.config["SHOP_MAX_PHOTO_BYTES"] + 1))
    assert answer.status_code == 413
    assert count(app, Photo) == 0


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"#!/bin/sh\n", "not a picture"),
        (b"", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (picture(kind="BMP"), "not a picture"),
        (bomb(30_000, 30_000), "too many"),
        (bomb(100_000, 100_000), "too many"),
    ],
    ids=["text", "empty", "svg", "bmp", "bomb", "huge bomb"],
)
def test_a_file_that_is_not_a_picture_is_refused(
    client: FlaskClient, app: Flask, data: bytes, says: str
) -> None:
    answer = upload(client, data, "evil.png")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["field"] == "file"
    assert answer.get_json()["error"]["value"] == "evil.png"
    assert says in answer.get_json()["error"]["remedy"]
    assert count(app, Photo) == 0


def test_a_missing_file_and_an_unknown_size_are_refused(client: FlaskClient) -> None:
    assert client.post("/photos", data={}).get_json()["error"]["field"] == "file"
    assert client.get("/photos/abc/enormous").get_json()["error"]["field"] == "size"
    assert client.get("/photos/abc/small").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "javascript:alert(1)", "//example.org/", "not a url", "http://", "https://u:p@example.org/",
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://169.254.169.254/latest/meta-data/", "http://10.1.2.3/", "http://192.168.0.1/", "http://172.16.0.1/",
        "http://100.64.0.1/", "http://224.0.0.1/", "http://[fe80::1]/", "http://[fc00::1]/",
        "http://localhost/", "http://LOCALHOST./", "http://shop.localhost/", "http://printer.local/",
        "http://metadata.google.internal/", "http://example.org:0/", "http://example.org:99999/",
    ],
)  # fmt: skip
def test_a_hook_to_a_forbidden_address_is_refused(client: FlaskClient, url: str) -> None:
    answer = client.post("/hooks", json={"url": url, "payload": {}})
    assert answer.status_code == 400, url
    assert answer.get_json()["error"]["field"] == "url"
    assert answer.get_json()["error"]["value"] == url


@pytest.mark.parametrize("payload", ['"text"', "[1]", "3", "null", '{"x": "\\ud800"}'])
def test_a_payload_that_cannot_be_sent_is_refused(client: FlaskClient, payload: str) -> None:
    body = f'{{"url": "https://example.org/", "payload": {payload}}}'
    answer = client.post("/hooks", data=body, content_type="application/json")
    assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, "payload")


def test_a_frozen_broker_is_503_in_time_and_the_same_request_works_afterwards(
    client: FlaskClient, app: Flask, valkey: Valkey
) -> None:
    valkey.freeze()
    started = time.monotonic()
    answer = upload(client, picture())
    took = time.monotonic() - started
    valkey.thaw()

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Send it again" in answer.get_json()["error"]["message"]
    assert took < 8, "3 s for the broker; the rest is for a busy machine"

    assert upload(client, picture()).status_code == 202


def test_a_sign_up_needs_no_broker(client: FlaskClient, app: Flask, valkey: Valkey) -> None:
    valkey.freeze()
    started = time.monotonic()
    answer = client.post("/signup", json=ADA)
    took = time.monotonic() - started
    valkey.thaw()
    assert answer.status_code == 202
    assert took < 8, "3 s for the broker; the rest is for a busy machine"
    assert count(app, User) == 1
    assert count(app, Session) == 1


def test_thumbnails_are_enqueued_once(client: FlaskClient, app: Flask) -> None:
    job = upload(client, picture()).get_json()["job"]["id"]
    with app.app_context():
        photo_id = db.session.scalars(select(Photo.id)).one()
    again = [client.post(f"/photos/{photo_id}/thumbnails") for _ in range(2)]
    assert [(each.status_code, each.get_json()["job"]["id"]) for each in again] == [(202, job)] * 2
    assert client.post("/photos/unknown/thumbnails").status_code == 404


def test_a_key_that_cannot_be_one_is_refused(client: FlaskClient) -> None:
    body = {"url": "https://example.org/", "payload": {}}
    answer = client.post("/hooks", json=body, headers={"Idempotency-Key": "k" * 201})
    assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, "Idempotency-Key")


def test_a_database_that_is_down_is_503(
    client: FlaskClient, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        db.engine.dispose()
    (tmp_path / "shop.sqlite3").rename(tmp_path / "elsewhere")
    (tmp_path / "shop.sqlite3").mkdir()
    for answer in (client.post("/signup", json=ADA), client.get("/jobs/some-job")):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "message" in answer.get_json()["error"]


def test_nothing_of_a_stranger_is_run_by_the_page(client: FlaskClient, app: Flask) -> None:
    client.post("/signup", json={"name": "<script>alert(1)</script>", "email": "x@example.org"})
    with app.app_context():
        token = db.session.scalars(select(Session.token)).one()
    answer = client.post("/hello", data={"token": token})
    assert b"<script>alert" not in answer.data
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_unknown_paths_and_wrong_methods_are_json_too(client: FlaskClient) -> None:
    assert client.get("/nowhere").get_json()["error"]["message"]
    answer = client.get("/signup")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_wrong_setting_in_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SMTP_PORT", "smtp")
    with pytest.raises(ValueError, match="SHOP_SMTP_PORT = 'smtp'"):
        make_app(tmp_path, monkeypatch)
