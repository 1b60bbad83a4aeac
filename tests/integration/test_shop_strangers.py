"""Attacks on the shop: forged mails, names that lead to private addresses, decompression bombs, secrets in logs."""

from __future__ import annotations

import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import func, select

from flask_nightshift import PermanentFailure
from servers import Postgres, Valkey
from shop_app import make_app
from shop_stack import ROOT

from shop import hooks, mail, tasks  # isort: skip
from shop.extensions import db  # isort: skip
from shop.models import Delivery, Session, User, WelcomeMail  # isort: skip

ADA = {"name": "Ada", "email": "ada@example.org"}
FORGERY = "=?utf-8?q?=0D=0AFrom:_bank=40evil.example=0D=0ABcc:_all=40example.org=0D=0A=0D=0APay_now?="


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey
) -> Iterator[Flask]:
    urls: dict[str, str] = {}
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
        urls["SQLALCHEMY_DATABASE_URI"] = url.replace("postgresql://", "postgresql+psycopg://")
    app = make_app(tmp_path, monkeypatch, NIGHTSHIFT_BROKER_URL=valkey.fresh_url(), SHOP_SMTP_PORT=9, **urls)
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def in_sqlite(test: Any) -> Any:
    """For tests that do not depend on the kind of database."""
    return pytest.mark.parametrize("app", ["sqlite"], indirect=True)(test)


def post_json(client: FlaskClient, path: str, text: str) -> Any:
    return client.post(path, data=text, content_type="application/json")


class TestForgedMail:
    @in_sqlite
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", FORGERY), ("name", "Ada =?"),
            ("name", "Ada\x85Bcc: x"), ("name", "Ada\u2028Bcc: x"), ("name", "A\0"),
            ("email", "=?utf-8?q?x?=@example.org"), ("email", "ada@example.org\r\nBcc: x@example.org"),
        ],
    )  # fmt: skip
    def test_a_forged_name_is_refused_at_sign_up(self, client: FlaskClient, field: str, value: str) -> None:
        answer = client.post("/signup", json=ADA | {field: value})
        assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, field)

    @in_sqlite
    @pytest.mark.parametrize("name", [FORGERY, f"Ada {FORGERY}", "=?utf-8?q?=0A=0Ahello?="])
    def test_an_unsafe_name_stored_earlier_sends_no_mail(self, app: Flask, name: str) -> None:
        with app.app_context():
            user = User(name=name, email="ada@example.org", welcome=WelcomeMail())
            db.session.add(user)
            db.session.commit()
            with pytest.raises(PermanentFailure):  # and not that no mail server is there
                tasks.send_welcome.run(user.id)

    @in_sqlite
    def test_names_that_pass_the_sign_up_are_text_in_a_header(self, app: Flask) -> None:
        @settings(max_examples=150, deadline=None)
        @given(st.text(min_size=1, max_size=100).map(str.strip).filter(bool).filter(mail.fits_header))
        @example('Zoë "<b>" Ω, x@y.org')
        @example("a" * 100)
        @example("=" * 50 + "?" * 50)
        def holds(name: str) -> None:
            with app.test_request_context():
                user = User(name=name, email="ada@example.org", welcome=WelcomeMail(message_id="m"))
                data = mail.sealed(mail.welcome(user), user.email)
            head = BytesHeaderParser(policy=policy.compat32).parsebytes(data)
            assert sorted(head.keys()) == sorted(mail.HEADERS)
            assert head["From"] == app.config["SHOP_MAIL_FROM"]

        holds()


class TestLogs:
    """With the database or a table missing: no log line contains an address, payload, secret URL or token."""

    SECRETS = ("ada@example.org", "s3cret-token", "lamps-of-ada")
    HOOK: ClassVar[dict[str, Any]] = {
        "url": "https://example.org/h?token=s3cret-token",
        "payload": {"note": "lamps-of-ada"},
    }

    def test_no_log_line_contains_text_from_strangers(
        self, app: Flask, client: FlaskClient, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:  # fmt: skip
        caplog.set_level(logging.DEBUG)
        with app.app_context():
            for table in (Delivery.__table__, Session.__table__):
                table.drop(db.engine)
        assert client.post("/signup", json=ADA).status_code >= 500
        with app.app_context():
            tasks._record("j1", self.HOOK["url"], self.HOOK["payload"], status=200)
        said = caplog.text + "".join(capfd.readouterr())
        assert "delivery.not_recorded" in said
        for secret in self.SECRETS:
            assert secret not in said

    @pytest.mark.parametrize("app", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
    def test_nor_while_the_server_is_down(
        self, app: Flask, client: FlaskClient, postgres: Postgres, capfd: Any, caplog: Any
    ) -> None:
        caplog.set_level(logging.DEBUG)
        postgres.stop()
        assert client.post("/signup", json=ADA).status_code == 503
        assert client.post("/hello", data={"token": "s3cret-token"}).status_code == 503
        with app.app_context():
            tasks._record("j1", self.HOOK["url"], self.HOOK["payload"], status=200)
        said = caplog.text + "".join(capfd.readouterr())
        assert "request.no_database" in said
        for secret in self.SECRETS:
            assert secret not in said


class TestWelcomeLink:
    def token(self, app: Flask) -> str:
        with app.app_context():
            return db.session.scalars(select(Session.token)).one()

    def test_the_welcome_link_works_once(self, app: Flask, client: FlaskClient) -> None:
        client.post("/signup", json=ADA)
        token = self.token(app)
        page = client.get("/hello")
        assert page.status_code == 200
        assert "no-store" in page.headers["Cache-Control"]

        answer = client.post("/hello", data={"token": token})
        assert answer.status_code == 200
        assert b"Good evening, Ada" in answer.data
        assert "no-store" in answer.headers["Cache-Control"]
        assert client.post("/hello", data={"token": token}).status_code == 404

    def test_the_welcome_link_expires(self, app: Flask, client: FlaskClient) -> None:
        client.post("/signup", json=ADA)
        token = self.token(app)
        with app.app_context():
            session = db.session.scalars(select(Session)).one()
            session.expires_at = session.expires_at.replace(year=2020)
            db.session.commit()
        assert client.post("/hello", data={"token": token}).status_code == 404

    def test_an_invalid_token_is_404(self, client: FlaskClient) -> None:
        for token in ("guessed", "", "\0", "\ud800".encode("utf-8", "surrogatepass"), "x" * 5000):
            assert client.post("/hello", data={"token": token}).status_code == 404
        assert client.get("/hello/guessed").status_code == 404


class TestSignUpsOfOneAddress:
    def test_sign_ups_of_one_address_and_its_links_are_limited(self, app: Flask, client: FlaskClient) -> None:
        answers = [client.post("/signup", json=ADA) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 2
        assert 3500 < int(answers[-1].headers["Retry-After"]) <= 3600
        assert client.post("/signup", json=ADA | {"email": "eve@example.org"}).status_code == 202
        with app.app_context():
            assert db.session.scalar(select(func.count()).select_from(Session)) == 6
            for session in db.session.scalars(select(Session)):  # two hours later
                session.expires_at = session.expires_at.replace(year=session.expires_at.year - 1)
            db.session.commit()
        assert client.post("/signup", json=ADA).status_code == 202
        with app.app_context():
            assert db.session.scalar(select(func.count()).select_from(Session)) == 6, "the oldest has gone"

    def test_simultaneous_sign_ups_are_limited_too(self, app: Flask) -> None:
        with ThreadPoolExecutor(10) as clients:
            codes = list(
                clients.map(lambda _: app.test_client().post("/signup", json=ADA).status_code, range(20))
            )
        assert codes.count(202) == 5, codes
        assert codes.count(429) == 15, codes


class TestHookUrls:
    @in_sqlite
    @pytest.mark.parametrize(
        "url",
        [
            "http://.../", "http://a..b/", "http://xn--/", "http://.a/", "http://a../", "http://-/\0",
            "http://" + "a" * 64 + ".org/",
            "http://[::127.0.0.1]/", "http://[64:ff9b:1::7f00:1]/", "http://[fec0::1]/", "http://[::ffff:0:127.0.0.1]/",
            "http://[::ffff:0:8.8.8.8]/", "http://[64:ff9b::a00:1]/", "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
            "http://[2002:a00:1::]/", "http://[100::1]/", "http://[ff02::1]/", "http://[::]/", "http://192.0.0.8/",
            "http://[5f00::1]/", "http://[3fff::1]/", "http://[2001:db8::1]/", "http://0177.0.0.1/", "http://127.1/",
        ],
    )  # fmt: skip
    def test_invalid_and_private_urls_are_refused(self, client: FlaskClient, url: str) -> None:
        answer = client.post("/hooks", json={"url": url, "payload": {}})
        assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, "url")

    @pytest.mark.parametrize(
        "url",
        ["http://8.8.8.8/", "http://[2606:4700::1111]/", "http://[64:ff9b::808:808]/", "https://bücher.example/"],
    )  # fmt: skip
    def test_public_urls_are_accepted(self, url: str) -> None:
        assert hooks.check(url).host

    @settings(max_examples=400, deadline=None)
    @given(
        st.one_of(
            st.text(max_size=60),
            st.text(max_size=40).map("http://{}/".format),
            st.text("[]:.%@-xn0123456789abf/#?", max_size=30).map("http://{}".format),
        )
    )
    def test_any_url_is_parsed_or_refused(self, url: str) -> None:
        try:
            hooks.check(url)
        except hooks.HookRefused:
            return


class TestBodies:
    @in_sqlite
    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_nan_and_infinity_do_not_come_back_in_the_answer(self, client: FlaskClient, number: str) -> None:
        for text in (
            f'{{"name": {number}}}',
            f'{{"url": "https://example.org/", "payload": {{"x": {number}}}}}',
        ):
            for path in ("/signup", "/hooks"):
                answer = post_json(client, path, text)
                assert answer.status_code == 400
                json.loads(answer.data, parse_constant=pytest.fail)

    @in_sqlite
    @pytest.mark.parametrize("depth", [40, 600, 20_000])
    def test_deep_nesting_is_refused_with_its_reason(self, client: FlaskClient, depth: int) -> None:
        nested = f'{{"url": "https://example.org/", "payload": {{"x": {"[" * depth}{"]" * depth}}}}}'
        answer = post_json(client, "/hooks", nested)
        assert answer.status_code == 400
        if depth < 1000:
            assert "32 levels" in answer.get_json()["error"]["remedy"]

    def test_a_nul_in_a_path_is_404(self, client: FlaskClient) -> None:
        for path in (
            "/photos/%00/small",
            "/photos/a%00b/small",
            "/jobs/%00",
            "/hello/%00",
            "/%00",
            "/%ff%fe",
        ):
            assert client.get(path).status_code == 404, path


class TestPictures:
    CASES: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("L", "GIF", {}),
        ("RGBA", "WEBP", {"lossless": True, "method": 0}),
        ("CMYK", "JPEG", {"progressive": True, "subsampling": 0}),
    )

    @pytest.mark.parametrize(("mode", "kind", "options"), CASES, ids=[" ".join(case[:2]) for case in CASES])
    def test_the_largest_that_is_taken_fits_in_200_mb(
        self, tmp_path: Path, mode: str, kind: str, options: dict[str, Any]
    ) -> None:
        code = (
            "import sys, pathlib; from shop import config, images\n"
            "data = pathlib.Path(sys.argv[1]).read_bytes(); most = config.DEFAULTS['SHOP_MAX_PHOTO_PIXELS']\n"
            "rss = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
            "images.inspect(data, most); before = rss()\n"
            "sizes = [size for _, _, size in images.thumbnails(data, most)]\n"
            "print((rss() - before) // 1024, *sizes[0])"
        )
        most = 40_000_000 // {"WEBP": 20, "JPEG": 8, "PNG": 5, "GIF": 5}[kind] * 5
        side = int(most**0.5)
        image = Image.new(mode if mode != "P" else "RGBA", (side, side))
        if mode == "P":
            image = image.quantize(4)
        file = tmp_path / "picture"
        image.save(file, kind, **options)
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], env={"PYTHONPATH": str(ROOT / "examples")},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        grown, width, height = map(int, done.stdout.split())
        assert (width, height) == (1200, 1200)
        assert grown <= 210, f"{grown} MB"

    @in_sqlite
    @pytest.mark.parametrize("size", [(4000, 3200), (1_000_000, 3)])
    def test_pictures_with_odd_proportions(self, client: FlaskClient, size: tuple[int, int]) -> None:
        from shop import images

        out = io.BytesIO()
        Image.linear_gradient("L").resize(size).save(out, "PNG")
        sizes = {name: made for name, _, made in images.thumbnails(out.getvalue(), 50_000_000)}
        assert max(sizes["large"]) == 1200
        assert min(sizes["small"]) >= 1


class TestSlowPartner:
    @pytest.mark.parametrize("drip", [b"H", b"HTTP/1.1 200 OK\r\nX: "], ids=["status", "headers"])
    def test_an_answer_in_single_bytes_gains_no_time(self, drip: bytes) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        over = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(drip)
                while not over.wait(0.1):
                    try:
                        connection.sendall(b"a")
                    except OSError:
                        return

        threading.Thread(target=serve, daemon=True).start()
        started = time.monotonic()
        try:
            with pytest.raises(hooks.HookFailed, match=r"too long|timed out|Timeout"):
                hooks.deliver(
                    f"http://127.0.0.1:{server.getsockname()[1]}/", {}, key="k", timeout=1, allow_private=True
                )
            assert time.monotonic() - started < 2.5
        finally:
            over.set()
            server.close()
