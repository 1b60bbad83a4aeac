"""Every route of the dashboard is closed: to strangers, without its permission, without our token, from other sites."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask, Request
from flask.testing import FlaskClient
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client, Cookie, TestResponse

from flask_nightshift import Actor, Nightshift
from flask_nightshift.domain.actor import everything
from flask_nightshift.errors import BrokerUnavailable, JobNotFound
from flask_nightshift.observe import audit
from flask_nightshift.operations import jobs as operations
from flask_nightshift.web.dashboard import guard, routing
from flask_nightshift.web.dashboard.alone import Alone, link_to
from flask_nightshift.web.dashboard.routing import ROUTES, Kind, Route

OURS = {"Sec-Fetch-Site": "same-origin"}


def make(folder: Path, **config: Any) -> Flask:
    app = Flask("guarded", instance_path=str(folder / "instance"))
    app.config.update(TESTING=True, NIGHTSHIFT_BROKER_URL="memory://", SECRET_KEY="a key")
    app.config.update(config)
    jobs = Nightshift(app)
    jobs.services.store.migrate()
    return app


def who(request: Request) -> Actor | None:
    """The header names the actor and what it may do: ``ada: view replay``."""
    name, _, permissions = request.headers.get("X-Actor", "").partition(":")
    return Actor(name, frozenset(permissions.split())) if name else None


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = make(tmp_path_factory.mktemp("walked"), NIGHTSHIFT_DASHBOARD_AUTH=who)
    yield app
    app.extensions["nightshift"].close()


@pytest.fixture
def client(walked: Flask) -> FlaskClient:
    return walked.test_client()


def routes(*kinds: Kind) -> list[Any]:
    routing.table()
    found = [route for route in ROUTES.values() if route.kind in kinds]
    assert found
    return [pytest.param(route, id=route.name) for route in found]


def path_of(route: Route) -> str:
    return "/nightshift" + re.sub(r"<[^>]+>", "0199a1b2c3d4", route.rule)


def as_(*permissions: str, name: str = "ada") -> dict[str, str]:
    return {"X-Actor": f"{name}: {' '.join(permissions)}"}


def all_but(permission: str) -> dict[str, str]:
    return as_(*(everything("x").permissions - {permission}))


def token(client: FlaskClient, actor: dict[str, str]) -> str:
    found = re.search(
        r'name="token" value="(\w+)"', client.get("/nightshift/confirm-test", headers=actor).text
    )
    assert found is not None
    return found[1]


@pytest.fixture(autouse=True, scope="module")
def _a_page_with_a_form() -> Iterator[None]:
    """A page that shows what a form has, whatever permissions the actor has, and an action that says what it got."""
    from flask_nightshift.web.dashboard.call import Call, Done, View, show

    routing.table.cache_clear()

    @routing.page("/confirm-test", title="Form")
    def confirm_test(call: Call) -> View:
        return show("confirm.html", said="Sure?", post="act_test", verb="Yes", back=call.url("overview"))

    def about(call: Call) -> str:
        call.confirmed("")
        return f"queue {call.text('queue')}"

    @routing.action("/act-test", permission="pause", verb="test", about=about)
    def act_test(call: Call) -> Done:
        if call.text("queue") == "broken":
            raise BrokerUnavailable("redis://:secret@host is away")
        if call.text("queue") == "slow":
            raise SystemExit(1)  # what gunicorn does to a worker that takes too long
        return Done(said="Done & <b>dusted</b>", to=call.url("overview"), count=7)

    yield
    del ROUTES["confirm_test"], ROUTES["act_test"]
    routing.table.cache_clear()


def test_an_action_is_recorded_and_one_that_fails_is_told_as_failed(client: FlaskClient) -> None:
    def post(**fields: str) -> int:
        ada = as_("view", "pause")
        form = {"token": token(client, ada), **fields}
        return client.post("/nightshift/act-test", data=form, headers=OURS | ada).status_code

    assert post(queue="mail", why="it moves") == 303
    assert post(queue="broken") == 503
    assert post(queue="mail", confirm="not what was asked for") == 400  # refused: nothing has changed
    with pytest.raises(SystemExit):
        post(queue="slow")
    services = client.application.extensions["nightshift"]
    ended, failed, done = audit.page(services).actions
    assert (ended.target, ended.outcome, ended.error) == (
        "queue slow",
        "failed",
        "the process was told to end",
    )
    assert (done.by, done.action, done.target, done.why) == ("ada", "test", "queue mail", "it moves")
    assert (done.count, done.outcome) == (7, "done")
    assert (failed.target, failed.outcome, failed.count) == ("queue broken", "failed", None)
    assert "is away" in (failed.error or "")
    assert "secret" not in (failed.error or "")


@pytest.mark.parametrize("route", routes(Kind.PAGE, Kind.ACTION))
def test_a_stranger_gets_nothing(client: FlaskClient, route: Route) -> None:
    for method in route.methods:
        answer = client.open(path_of(route), method=method, headers=OURS)
        assert answer.status_code in (401, 403), route.name


@pytest.mark.parametrize("route", routes(Kind.PAGE))
def test_a_page_needs_its_permission(client: FlaskClient, route: Route) -> None:
    answer = client.get(path_of(route), headers=all_but(route.permission))
    assert answer.status_code == 403
    assert f"permission &#39;{route.permission}&#39;" in answer.text


@pytest.mark.parametrize("route", routes(Kind.PAGE))
def test_a_page_is_sealed(client: FlaskClient, route: Route) -> None:
    answer = client.get(path_of(route), headers=as_(*everything("x").permissions))
    assert answer.status_code in (200, 400, 404), answer.text
    is_sealed(answer)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", answer.text)
    nonce = re.search(r"'nonce-([^']+)'", answer.headers["Content-Security-Policy"])
    assert nonce is not None
    for tag in re.findall(r"<(?:script|style|link rel=\"stylesheet\")[^>]*>", answer.text):
        assert f'nonce="{nonce[1]}"' in tag
        assert "src=" in tag or "href=" in tag


NASTY = (
    "endpoint=x&self=y&name=z&path=p&call=c&title=t&ui=u", "q=%00&after=%00&period=%00", "q=%ff%fe&after=%ff",
    "q=task:%00*",
    "q=%F0%9F%8C%99%E2%80%AE", "q=" + "a" * 3000, "after=2026-11-27T10:00:00%2B00:00,x",
    "after=9999-12-31T23:59:59%2B00:00,x",
    "q=since:99999999d", "q=tag:%22%22", "q=%22", "q=error:***", "period=hour&period=day", "after=,&q=%5C",
    "limit=-1&page=99999999999999999999&rate=nan&count=1e400", "status=x&reason=y&task=%00&fingerprint=%00&queue=%00",
)  # fmt: skip


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_no_query_breaks_a_page(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = (
        f"sqlite:///{tmp_path}/h.sqlite3"
        if database == "sqlite"
        else request.getfixturevalue("postgres").fresh_url()
    )
    app = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=who, NIGHTSHIFT_DATABASE_URL=url)
    client, actor = app.test_client(), as_(*everything("x").permissions)
    for route in (each for each in ROUTES.values() if each.kind is Kind.PAGE):
        for query in NASTY:
            answer = client.get(f"{path_of(route)}?{query}", headers=actor)
            assert answer.status_code in (200, 303, 400, 404), f"{route.rule}?{query}"
    app.extensions["nightshift"].close()


@pytest.mark.parametrize("route", routes(Kind.ACTION))
def test_an_action_needs_our_token_our_site_and_its_permission(client: FlaskClient, route: Route) -> None:
    path, actor = path_of(route), as_(*everything("x").permissions)
    good = token(client, actor)

    def post(given: str, headers: dict[str, str]) -> tuple[int, str]:
        answer = client.post(path, data={"token": given}, headers=headers)
        return answer.status_code, answer.text

    assert client.get(path, headers=actor).status_code in (404, 405)
    for given in ("", "wrong", good[:-1] + ("0" if good[-1] != "0" else "1")):
        status, said = post(given, actor | OURS)
        assert (status, "too old" in said) == (403, True)
    for foreign in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        status, said = post(good, actor | foreign)
        assert (status, "another site" in said) == (403, True), foreign
    if route.permission != "view":  # without it, nobody has a form
        poor = all_but(route.permission)
        status, said = post(token(client, poor), poor | OURS)
        assert (status, "permission" in said) == (403, True)
    other = as_(*everything("x").permissions, name="eve")
    status, said = post(good, other | OURS)
    assert (status, "too old" in said) == (403, True), "a token is for one actor"


@pytest.mark.parametrize(
    "origin", [OURS, {"Origin": "http://localhost"}, {"Origin": "https://localhost"}, {}]
)
def test_an_action_that_is_ours_is_done_and_said_on_the_next_page(
    client: FlaskClient, origin: dict[str, str]
) -> None:
    actor = as_("view", "pause")
    data = {"token": token(client, actor), "queue": "mail", "why": "because"}
    answer = client.post("/nightshift/act-test", data=data, headers=actor | origin)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/nightshift/")
    shown = client.get("/nightshift/", headers=actor)
    assert "Done &amp; &lt;b&gt;dusted&lt;/b&gt;" in shown.text
    assert "dusted" not in client.get("/nightshift/", headers=actor).text


def is_sealed(answer: TestResponse) -> None:
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers.getlist("Content-Security-Policy") == [answer.headers["Content-Security-Policy"]]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"


class Proxied:
    """A browser's requests to addresses below ``outside``, as a proxy passes them on to an app at another address."""

    def __init__(self, app: Flask, outside: str, headers: dict[str, str]) -> None:
        self._client, self._outside, self._headers = app.test_client(use_cookies=False), outside, headers
        self._cookies: dict[str, Cookie] = {}

    def get(self, url: str) -> TestResponse:
        return self._ask("GET", url)

    def post(self, url: str, *, data: dict[str, str], headers: dict[str, str]) -> TestResponse:
        return self._ask("POST", url, data=data, headers=headers)

    def _ask(
        self, method: str, url: str, headers: dict[str, str] | None = None, **given: Any
    ) -> TestResponse:
        assert url.startswith(self._outside), url
        path = urlsplit(url).path
        sent = [each for each in self._cookies.values() if f"{path}/".startswith(f"{each.path}/")]
        cookies = "; ".join(f"{each.key}={each.value}" for each in sent)
        told = {**self._headers, "Cookie": cookies, **(headers or {})}
        answer = self._client.open(url.removeprefix(self._outside), method=method, headers=told, **given)
        for line in answer.headers.getlist("Set-Cookie"):
            cookie = Cookie._from_response_header("shop.example.com", "/", line)
            self._cookies[cookie.key] = cookie
        return answer


def test_the_page_of_an_error_has_a_way_back_for_those_who_are_known(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such(*_: Any) -> None:
        raise JobNotFound("ask `flask jobs list` what there is.")

    monkeypatch.setattr(operations, "find", no_such)
    answer = client.get("/nightshift/jobs/0199a1b2c3d4", headers=as_("view"))
    assert answer.status_code == 404
    assert 'href="/nightshift/">To the overview' in answer.text
    assert '<code class="inline">flask jobs list</code> what there is.</p>' in answer.text
    for path in ("/nowhere", "/letters/check?do=nothing"):
        assert "To the overview" in client.get(f"/nightshift{path}", headers=as_("view")).text
        assert "To the overview" not in client.get(f"/nightshift{path}").text


def test_a_form_that_is_too_large_is_refused_and_a_large_one_is_not(tmp_path: Path) -> None:
    app = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=who)
    services, ada = app.extensions["nightshift"], as_(*everything("x").permissions)
    browser, alone = app.test_client(), Client(Alone(services))
    form = {"token": token(browser, ada), "why": "because", "queue": "mail"}
    large = form | {"args": "\U0001f600" * 1_000_000, "kwargs": "\U0001f600" * 900_000}
    assert browser.post("/nightshift/act-test", data=large, headers=ada | OURS).status_code == 303
    said = browser.post("/nightshift/act-test", data={"args": "x" * 25_000_001}, headers=ada | OURS)
    assert (said.status_code, "too large" in said.text) == (413, True)
    other = Alone(services)
    alone = Client(other)
    alone.get(other.link("http://localhost"))
    said = alone.post("/nightshift/act-test", data={"args": "x" * 25_000_001}, headers=OURS)
    assert (said.status_code, "too large" in said.text) == (413, True)


def test_a_query_that_cannot_be_read_is_a_bad_request(client: FlaskClient) -> None:
    said = client.get(
        "/nightshift/bulk/plan?do=cancel&q=state:nonsense", headers=as_(*everything("x").permissions)
    )
    assert (said.status_code, "searched for" in said.text) == (400, True)


class TestTheWayIn:
    def test_nothing_configured_says_how_to_open(self, tmp_path: Path) -> None:
        client = make(tmp_path).test_client()
        for path in ("/", "/jobs", "/nowhere", "/jobs/x"):
            answer = client.get("/nightshift" + path)
            assert answer.status_code == 403
            assert "NIGHTSHIFT_DASHBOARD_AUTH" in answer.text
            assert "flask jobs dashboard" in answer.text
            is_sealed(answer)

    def test_without_a_secret_key_it_is_refused_by_name(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = make(tmp_path, SECRET_KEY=None, NIGHTSHIFT_DASHBOARD_AUTH=who).test_client()
        (warning,) = [record.getMessage() for record in caplog.records if "SECRET_KEY" in record.getMessage()]
        assert "secrets.token_hex()" in warning
        caplog.clear()
        make(tmp_path / "closed", SECRET_KEY=None)
        make(tmp_path / "signed", NIGHTSHIFT_DASHBOARD_AUTH=who)
        make(
            tmp_path / "off",
            SECRET_KEY=None,
            NIGHTSHIFT_DASHBOARD_AUTH=who,
            NIGHTSHIFT_DASHBOARD_PREFIX="off",
        )
        with monkeypatch.context() as patched:
            patched.setenv(guard.UP_KEY, "a key of flask jobs up")
            make(tmp_path / "up", SECRET_KEY=None, NIGHTSHIFT_DASHBOARD_AUTH=who)
        assert "SECRET_KEY" not in caplog.text
        answer = client.get("/nightshift/", headers=as_("view"))
        assert answer.status_code == 503
        assert "SECRET_KEY" in answer.text

    def test_a_path_is_imported_at_the_first_request(self, tmp_path: Path) -> None:
        client = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=f"{__name__}:who").test_client()
        assert client.get("/nightshift/", headers=as_("view")).status_code == 200
        for wrong in ("nowhere.at:all", f"{__name__}.missing", f"{__name__}:OURS"):
            client = make(tmp_path / wrong, NIGHTSHIFT_DASHBOARD_AUTH=wrong).test_client()
            answer = client.get("/nightshift/")
            assert answer.status_code >= 400
            assert wrong in answer.text

    @pytest.mark.parametrize("answer", [True, "ada", {"name": "ada"}])
    def test_an_answer_that_is_no_actor_opens_nothing(self, tmp_path: Path, answer: object) -> None:
        client = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=lambda _: answer).test_client()
        said = client.get("/nightshift/")
        assert said.status_code >= 400
        assert "has to return an Actor" in said.text

    def test_a_link_opens_once_a_session_for_the_same_site_only(self, tmp_path: Path) -> None:
        app = make(tmp_path)
        link = link_to(app.extensions["nightshift"], "http://localhost")
        assert link is not None
        client = app.test_client()
        answer = client.get(link)
        assert answer.status_code == 200
        cookie = answer.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/nightshift"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert 'content="0;url=/nightshift/"' in answer.text
        shown = client.get("/nightshift/")
        assert shown.status_code == 200
        assert "Sign out" in shown.text

        again = app.test_client().get(link)
        assert again.status_code == 403
        assert "works once" in again.text
        tampered = link[:-3] + ("abc" if link[-3:] != "abc" else "cba")
        assert app.test_client().get(tampered).status_code == 403
        assert app.test_client().get("/nightshift/").status_code == 403

        found = re.search(r'name="token" value="(\w+)"', shown.text)
        assert found is not None
        left = client.post("/nightshift/leave", data={"token": found[1]}, headers=OURS)
        assert left.status_code == 200
        assert client.get("/nightshift/").status_code == 403

    def test_a_look_at_a_link_does_not_use_it(self, tmp_path: Path) -> None:
        app = make(tmp_path)
        link = link_to(app.extensions["nightshift"], "http://localhost")
        assert link is not None
        looked = app.test_client().head(link)
        assert (looked.status_code, "nightshift_session" in str(looked.headers)) == (200, False)
        assert app.test_client().head(link[:-3]).status_code == 403
        assert app.test_client().get(link).status_code == 200

    def test_alone_a_link_needs_no_database(self, tmp_path: Path) -> None:
        nowhere = f"sqlite:///{tmp_path}/no/such/folder/h.sqlite3"
        app = Flask("guarded", instance_path=str(tmp_path))
        app.config.update(NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DATABASE_URL=nowhere)
        alone = Alone(Nightshift(app).services)
        link = alone.link("http://localhost")
        assert Client(alone).get(link).status_code == 200
        assert Client(alone).get(link).status_code == 403

    def test_over_tls_cookies_are_secure(self, tmp_path: Path) -> None:
        app = make(tmp_path)
        link = link_to(app.extensions["nightshift"], "https://localhost")
        assert link is not None
        assert "Secure" in app.test_client().get(link, base_url="https://localhost").headers["Set-Cookie"]

    def test_alone_only_its_own_link_opens(self, tmp_path: Path) -> None:
        app = make(tmp_path, SECRET_KEY=None, NIGHTSHIFT_DASHBOARD_AUTH=who)
        app.get("/")(lambda: "the app's own page")
        app.before_request(lambda: "the app's own login")
        alone = Alone(app.extensions["nightshift"])

        browser = Client(alone)
        assert browser.get("/").headers["Location"] == "/nightshift/"
        assert browser.get("/nightshift/", headers=as_("view")).status_code == 403
        link = alone.link("http://localhost")
        assert browser.get(link).status_code == 200
        assert browser.get("/nightshift/").status_code == 200
        assert Client(alone).get("/nightshift/").status_code == 403


class TestAsAGuest:
    def test_the_app_s_own_routes_take_precedence(self, tmp_path: Path) -> None:
        app = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=who)
        app.get("/nightshift/jobs", endpoint="mine")(lambda: "the app's jobs")
        app.get("/nightshift/<int:year>", endpoint="year")(lambda year: f"the year {year}")
        client = app.test_client()
        assert client.get("/nightshift/jobs", headers=as_("view")).text == "the app's jobs"
        assert client.get("/nightshift/2026", headers=as_("view")).text == "the year 2026"
        assert "Overview" in client.get("/nightshift/", headers=as_("view")).text

    def test_the_app_s_own_page_at_the_prefix_takes_precedence(self, tmp_path: Path) -> None:
        app = make(tmp_path)
        app.get("/nightshift/", endpoint="mine")(lambda: "the app's night")
        assert app.test_client().get("/nightshift/").text == "the app's night"

    def test_off_there_is_nothing(self, tmp_path: Path) -> None:
        app = make(tmp_path, NIGHTSHIFT_DASHBOARD_PREFIX="off")
        assert app.test_client().get("/nightshift/").status_code == 404
        assert link_to(app.extensions["nightshift"], "http://localhost") is None

    def test_another_prefix_and_a_script_name_are_in_every_url(self, tmp_path: Path) -> None:
        app = make(tmp_path, NIGHTSHIFT_DASHBOARD_PREFIX="/ops/jobs", NIGHTSHIFT_DASHBOARD_AUTH=who)
        environ = {"SCRIPT_NAME": "/shop"}
        client = app.test_client()
        answer = client.get("/ops/jobs/", headers=as_("view"), environ_overrides=environ)
        assert answer.status_code == 200
        urls = re.findall(r'(?:href|src|action|hx-get)="(/[^"]*)"', answer.text)
        assert urls
        assert all(url.startswith("/shop/ops/jobs/") for url in urls)
        assert "Path=/shop/ops/jobs" in answer.headers["Set-Cookie"]
        style = next(url for url in urls if url.endswith(".css"))
        got = client.get(style.removeprefix("/shop"), environ_overrides=environ)
        assert (got.status_code, got.mimetype) == (200, "text/css")
        assert "immutable" in got.headers["Cache-Control"]

    def test_behind_a_proxy_that_ends_tls_and_strips_a_prefix(self, tmp_path: Path) -> None:
        app = make(tmp_path)
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)  # type: ignore[method-assign]
        site, home = "https://shop.example.com", "/tools/nightshift"
        proxied = {
            "X-Forwarded-For": "203.0.113.9",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "shop.example.com",
            "X-Forwarded-Prefix": "/tools",
        }
        client = Proxied(app, f"{site}/tools", proxied)

        link = link_to(app.extensions["nightshift"], f"{site}/tools")
        assert link is not None
        assert link.startswith(f"{site}{home}/open/")
        opened = client.get(link)
        assert f'content="0;url={home}/"' in opened.text
        assert {"Secure", "HttpOnly", f"Path={home}"} <= set(opened.headers["Set-Cookie"].split("; "))
        assert client.get(link).status_code == 403

        shown = client.get(f"{site}{home}/")
        assert shown.status_code == 200
        visitor = [cookie for cookie in shown.headers.getlist("Set-Cookie") if "visitor" in cookie]
        assert all({"Secure", f"Path={home}"} <= set(cookie.split("; ")) for cookie in visitor)
        urls = re.findall(r'(?:href|src|action|hx-get|hx-post)="(/[^"]*)"', shown.text)
        assert urls
        assert all(url.startswith(f"{home}/") for url in urls)
        for url in dict.fromkeys(urls):
            if "/leave" not in url:
                assert client.get(site + html.unescape(url)).status_code == 200, url

        found = re.search(r'name="token" value="(\w+)"', shown.text)
        assert found is not None
        form = {"token": found[1], "queue": "celery"}
        pause = f"{site}{home}/queues/pause/now"
        for origin, status in (
            ("https://evil.example.com", 403),
            ("http://localhost", 403),  # the name of the server behind the proxy
            ("null", 403),
            (site, 303),
        ):
            answer = client.post(pause, data=form, headers={"Origin": origin})
            assert answer.status_code == status, (origin, answer.text)
        assert answer.headers["Location"].startswith((f"{home}/", f"{site}{home}/"))
        assert "paused" in client.get(f"{site}{home}/queues").text

    @pytest.mark.parametrize("first", ["csrf", "nightshift"])
    def test_beside_flask_wtf_s_protection(self, tmp_path: Path, first: str) -> None:
        from flask_wtf import CSRFProtect

        app = Flask("guarded", instance_path=str(tmp_path))
        app.config.update(NIGHTSHIFT_BROKER_URL="memory://", SECRET_KEY="a", NIGHTSHIFT_DASHBOARD_AUTH=who)
        app.config["NIGHTSHIFT_DATABASE_URL"] = f"sqlite:///{tmp_path}/h.sqlite3"
        both = [CSRFProtect, Nightshift]
        for each in both if first == "csrf" else reversed(both):
            each(app)
        app.extensions["nightshift"].store.migrate()
        app.post("/theirs")(lambda: "unprotected")
        client, actor = app.test_client(), as_("view", "pause")
        data = {"token": token(client, actor)}
        done = client.post("/nightshift/act-test", data=data, headers=actor | OURS)
        assert done.status_code == 303
        assert client.post("/theirs").status_code == 400

    def test_beside_talisman_our_policy_stays(self, tmp_path: Path) -> None:
        from flask_talisman import Talisman

        app = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=who)
        Talisman(app, force_https=False, content_security_policy={"default-src": "*"})
        app.get("/theirs")(lambda: "theirs")
        client = app.test_client()
        answer = client.get("/nightshift/", headers=as_("view"))
        is_sealed(answer)
        assert "'nonce-" in answer.headers["Content-Security-Policy"]
        assert client.get("/theirs").headers["Content-Security-Policy"] == "default-src *"

    def test_a_class_of_responses_of_the_app_is_kept(self, tmp_path: Path) -> None:
        from flask import Response

        class Theirs(Response):
            default_mimetype = "text/plain"

        app = make(tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=who)
        app.response_class = Theirs
        seen: list[object] = []

        def see(response: Response) -> Response:
            seen.append(response)
            return response

        app.after_request(see)
        is_sealed(app.test_client().get("/nightshift/", headers=as_("view")))
        assert isinstance(seen[0], Theirs)


def test_a_poll_is_answered_304_until_something_changes(client: FlaskClient) -> None:
    actor = as_("view") | {"HX-Request": "true"}
    first = client.get("/nightshift/", headers=actor)
    tag = first.headers["ETag"]
    assert "<html" not in first.text
    page = client.get("/nightshift/", headers=as_("view"))
    assert f'data-etag="{tag.replace(chr(34), "&#34;")}"' in page.text
    again = client.get("/nightshift/", headers=actor | {"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    other = client.get("/nightshift/", headers=actor | {"If-None-Match": '"other"'})
    assert other.status_code == 200
