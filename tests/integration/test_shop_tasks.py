"""The shop's tasks with real servers: one mail per user, thumbnails of every picture, partners that fail."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from flask import Flask, Response
from PIL import Image
from sqlalchemy import select
from werkzeug.serving import make_server

from flask_nightshift import PermanentFailure
from servers import free_port
from shop_app import make_app

from shop import hooks, images, tasks  # isort: skip
from shop.extensions import db  # isort: skip
from shop.mail_sink import Mailbox  # isort: skip
from shop.models import Delivery, Photo, Session, Thumbnail, User, WelcomeMail, utcnow  # isort: skip
from shop.partner import create_partner  # isort: skip

EXAMPLES = Path(__file__).parents[2] / "examples"


class Postman(Mailbox):
    """A mail server with hooks that run ``before`` and ``after`` it accepts a mail."""

    before: Callable[[], str | None] = staticmethod(lambda: None)
    after: Callable[[], Any] = staticmethod(lambda: None)
    refuse: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        refused = self.before()
        if refused:
            return refused
        answer = await super().handle_DATA(server, session, envelope)
        self.after()
        return answer


@pytest.fixture
def postman() -> Iterator[Postman]:
    postman = Postman()
    controller = Controller(postman, hostname="127.0.0.1", port=postman.port)
    controller.start()
    yield postman
    controller.stop()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postman: Postman) -> Iterator[Flask]:
    app = make_app(
        tmp_path,
        monkeypatch,
        SHOP_SMTP_PORT=postman.port,
        SHOP_SMTP_TIMEOUT=5.0,
        SHOP_ALLOW_PRIVATE_HOOKS=True,
        SHOP_HOOK_TIMEOUT=0.5,
    )
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def ada(app: Flask) -> User:
    user = User(name="Ada", email="ada@example.org", welcome=WelcomeMail())
    user.sessions.append(Session(expires_at=utcnow() + timedelta(hours=1)))
    db.session.add(user)
    db.session.commit()
    return user


def claim_is_over(user: User) -> None:
    """As if the 25 s of a claim had passed."""
    db.session.expire_all()
    user.welcome.claimed_until = utcnow() - timedelta(seconds=1)
    db.session.commit()


def in_a_process(app: Flask, user: User) -> subprocess.Popen[bytes]:
    """Run the task in a process of its own, which can be killed."""
    code = f"from shop import create_app, tasks\nwith create_app().app_context(): tasks.send_welcome.run({user.id})"
    environ = {
        **os.environ,
        "PYTHONPATH": str(EXAMPLES),
        "SHOP_INSTANCE": app.instance_path,
        "SHOP_SMTP_PORT": str(app.config["SHOP_SMTP_PORT"]),
    }
    return subprocess.Popen([sys.executable, "-c", code], env=environ)


def killer(holder: list[subprocess.Popen[bytes]], started: threading.Event) -> Callable[[], None]:
    """Kills the process that talks to the postman, once."""

    def kill() -> None:
        started.wait(10)
        if holder:
            holder.pop().send_signal(signal.SIGKILL)

    return kill


class TestWelcomeMail:
    def test_the_mail_is_text_and_html_and_greets(self, ada: User, postman: Postman) -> None:
        assert tasks.send_welcome.run(ada.id) == {"sent": True, "to": "ada@example.org"}
        mail = postman.all()[0]
        link = f"/hello#{ada.sessions[0].token}"
        assert mail["To"] == [{"Name": "Ada", "Address": "ada@example.org"}]
        assert mail["Subject"] == "Welcome to the Night Shop, Ada"
        assert link in mail["Text"]
        assert link in mail["HTML"]
        assert mail["MessageID"] == f"{ada.welcome.message_id}@nightshop.example"

    def test_names_are_escaped_in_html_and_encoded_in_headers(self, ada: User, postman: Postman) -> None:
        ada.name = 'Zoë "<b>" Ω'
        db.session.commit()
        tasks.send_welcome.run(ada.id)
        mail = postman.all()[0]
        assert mail["To"][0]["Name"] == ada.name
        assert "<b>" not in mail["HTML"]
        assert 'Zoë "<b>" Ω' in mail["Text"]

    def test_repeated_runs_send_one_mail(self, ada: User, postman: Postman) -> None:
        assert [tasks.send_welcome.run(ada.id)["sent"] for _ in range(3)] == [True, False, False]
        assert len(postman.all()) == 1

    def test_two_runs_at_once_send_one_mail(self, app: Flask, ada: User, postman: Postman) -> None:
        first_is_sending, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            first_is_sending.set()
            go_on.wait(20)

        postman.before = hold
        first = in_a_process(app, ada)
        assert first_is_sending.wait(20)
        postman.before = lambda: None

        second = tasks.send_welcome.apply(
            (ada.id,)
        )  # eager: its retries run at once, and find the claim taken
        assert "another run" in str(second.result)
        go_on.set()
        assert first.wait(20) == 0
        db.session.expire_all()
        assert tasks.send_welcome.run(ada.id)["sent"] is False
        assert len(postman.all()) == 1

    def test_killed_before_the_mail_was_taken_it_is_sent_by_the_next_run(
        self, app: Flask, ada: User, postman: Postman
    ) -> None:
        holder: list[Any] = []
        started = threading.Event()
        kill = killer(holder, started)
        postman.before = lambda: kill() or "451 not now"
        holder.append(process := in_a_process(app, ada))
        started.set()
        assert process.wait(20) == -signal.SIGKILL
        postman.before = lambda: None
        assert postman.all() == []

        claim_is_over(ada)
        assert tasks.send_welcome.run(ada.id)["sent"] is True
        assert len(postman.all()) == 1

    def test_killed_after_the_mail_was_taken_the_copy_says_that_it_is_one(
        self, app: Flask, ada: User, postman: Postman
    ) -> None:
        holder: list[Any] = []
        started = threading.Event()
        postman.after = killer(holder, started)
        holder.append(process := in_a_process(app, ada))
        started.set()
        assert process.wait(20) == -signal.SIGKILL
        db.session.expire_all()

        tasks.send_welcome.apply((ada.id,))
        assert len(postman.all()) == 1, "its claim still holds"
        claim_is_over(ada)
        assert tasks.send_welcome.run(ada.id)["sent"] is True
        assert tasks.send_welcome.run(ada.id)["sent"] is False
        first, second = postman.all()
        assert first["MessageID"] == second["MessageID"]

    def test_a_refusal_for_now_frees_the_claim_for_the_retry(self, ada: User, postman: Postman) -> None:
        answers = iter(["451 try again", None])
        postman.before = lambda: next(answers)
        result = tasks.send_welcome.apply((ada.id,))
        assert result.result == {"sent": True, "to": "ada@example.org"}
        assert len(postman.all()) == 1

    def test_a_refusal_for_good_is_permanent(self, ada: User, postman: Postman) -> None:
        postman.refuse = "550 no such mailbox"
        with pytest.raises(PermanentFailure, match=r"refuses ada@example\.org"):
            tasks.send_welcome.run(ada.id)

    def test_no_mail_server_is_retriable(self, app: Flask, ada: User) -> None:
        app.config["SHOP_SMTP_PORT"] = free_port()
        with pytest.raises(OSError, match="refused"):
            tasks.send_welcome.run(ada.id)
        assert tasks.send_welcome.retriable(ConnectionRefusedError())

    def test_a_user_that_is_gone_is_permanent(self, app: Flask) -> None:
        with pytest.raises(PermanentFailure, match="no user 4711"):
            tasks.send_welcome.run(4711)


class TestThumbnails:
    @staticmethod
    def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> str:
        out = io.BytesIO()
        image.save(out, kind, **options)
        photo = Photo(filename="p", content_type="image/png", original=out.getvalue())
        db.session.add(photo)
        db.session.commit()
        return photo.id

    @staticmethod
    def made(photo_id: str) -> dict[str, Image.Image]:
        rows = db.session.scalars(select(Thumbnail).where(Thumbnail.photo_id == photo_id))
        return {row.size: Image.open(io.BytesIO(row.data)) for row in rows}

    def test_three_sizes_and_where_they_are(self, app: Flask) -> None:
        photo_id = self.stored(Image.new("RGB", (3000, 1500), "teal"), "JPEG")
        for _ in range(2):  # again is harmless
            result = tasks.make_thumbnails.run(photo_id)
            made = self.made(photo_id)
            assert {name: image.size for name, image in made.items()} == {
                "large": (1200, 600), "medium": (480, 240), "small": (160, 80),
            }  # fmt: skip
            assert set(result["sizes"]) == set(made)
        answer = app.test_client().get(result["sizes"]["small"])
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
        assert (
            app.test_client()
            .get(result["sizes"]["small"], headers={"If-None-Match": answer.headers["ETag"]})
            .status_code
            == 304
        )

    def test_nothing_is_enlarged(self, app: Flask) -> None:
        photo_id = self.stored(Image.new("RGB", (50, 20)))
        tasks.make_thumbnails.run(photo_id)
        assert {image.size for image in self.made(photo_id).values()} == {(50, 20)}

    def test_a_thumbnail_is_upright_and_has_no_location(self, app: Flask) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees
        exif[0x010F] = "Camera of Ada"
        photo_id = self.stored(Image.new("RGB", (400, 200)), "JPEG", exif=exif.tobytes())
        tasks.make_thumbnails.run(photo_id)
        large = self.made(photo_id)["large"]
        assert large.size == (200, 400)
        assert not large.getexif()

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK", "I;16"])
    def test_pictures_of_every_colour_mode(self, app: Flask, mode: str) -> None:
        image = Image.new(mode, (30, 30)) if mode != "P" else Image.new("RGBA", (30, 30)).quantize()
        photo_id = self.stored(image, "JPEG" if mode == "CMYK" else "PNG")
        tasks.make_thumbnails.run(photo_id)
        small = self.made(photo_id)["small"]
        assert small.mode == "RGB"
        if mode in {"RGBA", "LA", "P"}:
            assert small.getpixel((15, 15)) == (255, 255, 255), "transparent becomes white"

    def test_a_damaged_picture_is_not_tried_again(self, app: Flask) -> None:
        out = io.BytesIO()
        Image.effect_noise((300, 300), 90).save(out, "JPEG")
        photo = Photo(filename="p", content_type="image/jpeg", original=out.getvalue()[:4000])
        db.session.add(photo)
        db.session.commit()
        with pytest.raises(images.NotAPicture, match="damaged") as caught:
            tasks.make_thumbnails.run(photo.id)
        assert not tasks.make_thumbnails.retriable(caught.value)

    def test_a_photo_that_is_gone_is_permanent(self, app: Flask) -> None:
        with pytest.raises(PermanentFailure, match="no photo gone"):
            tasks.make_thumbnails.run("gone")


@pytest.fixture
def partner() -> Iterator[str]:
    partner = create_partner()
    release = threading.Event()

    @partner.post("/silent")
    def silent() -> str:
        release.wait(20)
        return ""

    @partner.post("/elsewhere")
    def elsewhere() -> Response:
        return Response(status=307, headers={"Location": "/ok"})

    @partner.post("/endless")
    def endless() -> Response:
        return Response((b"x" * 65_536 for _ in iter(int, 1)), status=500)

    @partner.post("/later/<path:when>")
    def later(when: str) -> Response:
        return Response(status=503, headers={"Retry-After": when})

    server = make_server("127.0.0.1", 0, partner, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    release.set()
    server.shutdown()


def deliver(url: str, **options: Any) -> int:
    return hooks.deliver(
        url, {"order": 42}, **{"key": "k1", "timeout": 0.5, "allow_private": True, **options}
    )


def heard(partner: str) -> list[dict[str, Any]]:
    import httpx

    return list(httpx.get(f"{partner}/received").json())


class TestHooks:
    def test_a_hook_posts_json_with_the_key(self, partner: str) -> None:
        assert deliver(f"{partner}/ok") == 200
        call = heard(partner)[0]
        assert (call["key"], call["payload"], call["path"]) == ("k1", {"order": 42}, "/ok")

    @pytest.mark.parametrize("path", ["flaky", "broken", "busy", "silent", "endless"])
    def test_a_temporary_error_is_retried(self, app: Flask, partner: str, path: str) -> None:
        started = time.monotonic()
        with pytest.raises(hooks.HookFailed) as caught:
            deliver(f"{partner}/{path}")
        assert tasks.deliver_hook.retriable(caught.value)
        assert time.monotonic() - started < 5
        assert len(str(caught.value)) < 500

    def test_a_closed_port_and_an_unknown_name_are_retried(self) -> None:
        for url in (f"http://127.0.0.1:{free_port()}/", "http://no-such-host.invalid/"):
            with pytest.raises(hooks.HookFailed):
                deliver(url)

    @pytest.mark.parametrize(("path", "status"), [("gone", 410), ("unheard-of", 404), ("elsewhere", 307)])
    def test_a_final_answer_is_permanent(self, app: Flask, partner: str, path: str, status: int) -> None:
        with pytest.raises(hooks.HookRefused) as caught:
            deliver(f"{partner}/{path}")
        assert caught.value.status == status
        assert not tasks.deliver_hook.retriable(caught.value)
        assert [call["path"] for call in heard(partner)] != ["/ok"], "a redirect was followed"

    def test_retry_after_is_honoured_up_to_the_cap(self, partner: str) -> None:
        date = (datetime.now(UTC) + timedelta(seconds=120)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        past = "Wed, 21 Oct 2015 07:28:00 GMT"
        for when, low, high in (("7", 7, 7), (date, 117, 120), (past, 0, 0), ("99999999", 3600, 3600)):
            with pytest.raises(hooks.HookFailed) as caught:
                deliver(f"{partner}/later/{when}")
            assert caught.value.retry_after is not None, when
            assert low <= caught.value.retry_after <= high, when
        absurd = "Wed, 21 Oct 2015 07:28:00 +999999999999"
        for when in ("soon", "-5", "1e9", absurd, "Wed, 21 Oct 99999 07:28:00 GMT"):
            with pytest.raises(hooks.HookFailed) as caught:
                deliver(f"{partner}/later/{when}")
            assert caught.value.retry_after is None, when

    def test_a_name_with_a_private_address_is_refused_before_connecting(
        self, partner: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = int(partner.rpartition(":")[2])
        resolve(monkeypatch, "partner.example", ["93.184.216.34", "127.0.0.1"])
        with pytest.raises(hooks.HookFailed, match="leads to no public address") as inside:
            deliver(f"http://partner.example:{port}/ok", allow_private=False)
        with pytest.raises(hooks.HookFailed) as nowhere:
            deliver("http://no-such-host.invalid/", allow_private=False)
        assert heard(partner) == []
        said = str(inside.value).replace("partner.example", "HOST")
        assert said == str(nowhere.value).replace("no-such-host.invalid", "HOST"), (
            "it tells that the name exists"
        )

    def test_the_address_that_was_checked_is_the_one_that_is_called(
        self, partner: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = int(partner.rpartition(":")[2])
        asked = resolve(monkeypatch, "partner.example", ["127.0.0.1"])
        assert deliver(f"http://partner.example:{port}/ok") == 200
        assert asked.count("partner.example") == 1, "a second look-up could give another address"
        assert heard(partner)[0]["host"] == f"partner.example:{port}"

    def test_each_attempt_is_noted(self, app: Flask, partner: str) -> None:
        url = f"{partner}/busy"
        result = tasks.deliver_hook.apply((url, {"order": 1}, "k1"))
        assert result.result == {"status": 200}
        rows = db.session.scalars(select(Delivery).order_by(Delivery.id)).all()
        assert [row.status for row in rows] == [429, 200]
        assert {row.job_id for row in rows} == {result.id}
        assert {call["key"] for call in heard(partner)} == {result.id}

    def test_a_call_is_not_repeated_because_its_record_failed(self, app: Flask, partner: str) -> None:
        Delivery.__table__.drop(db.engine)
        assert tasks.deliver_hook.apply((f"{partner}/ok", {}, "k2")).result == {"status": 200}
        assert len(heard(partner)) == 1


def resolve(monkeypatch: pytest.MonkeyPatch, name: str, addresses: list[str]) -> list[str]:
    """Let ``name`` resolve to ``addresses``; gives the list of names that are asked for from now on."""
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        asked.append(host if isinstance(host, str) else host.decode())
        if asked[-1] != name:
            return real(host, *args, **options)
        if options.get("flags"):
            asked.pop()  # asked whether it is an address, which needs no name server
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_the_clean_up_deletes_what_expired_and_nothing_else(app: Flask, ada: User) -> None:
    now = utcnow()
    ada.sessions.append(Session(expires_at=now - timedelta(seconds=1)))
    for days in (1, 29, 31):
        db.session.add(Delivery(job_id="j", url="u", payload={}, at=now - timedelta(days=days)))
    db.session.commit()
    assert tasks.clean_up.run() == {"sessions": 1, "deliveries": 1}
    assert tasks.clean_up.run() == {"sessions": 0, "deliveries": 0}
    assert all(one.expires_at > now for one in db.session.scalars(select(Session)))
