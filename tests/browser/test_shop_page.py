"""The shop's page in a real browser, with the whole system running."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from shop_stack import ROOT, ShopStack

pytestmark = pytest.mark.browser

PHOTO = ROOT / "examples" / "shop" / "static" / "moonrise.jpg"
PHONE = {"width": 375, "height": 812}
DESKTOP = {"width": 1280, "height": 900}


def counter(page: Page, title: str) -> Any:
    return page.get_by_role("region", name=title)


def ticket(page: Page, title: str) -> Any:
    return counter(page, title).locator(".ticket").first


def sign_up(page: Page, name: str, email: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Sign up").click()


def upload(page: Page, path: Any = PHOTO) -> None:
    page.get_by_label("Picture").set_input_files(path)
    page.get_by_role("button", name="Upload").click()


def call(page: Page, url: str, payload: str = '{"order": 42}') -> None:
    page.get_by_label("Partner’s URL").fill(url)
    page.get_by_label("Order, as JSON").fill(payload)
    page.get_by_role("button", name="Call").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_all_three_counters_work(
    open_page: Any, shop: ShopStack, picture: Any, viewport: dict[str, int], scheme: str
) -> None:
    page = open_page(viewport=viewport, color_scheme=scheme)
    picture(page, f"empty-{scheme}-{viewport['width']}")
    email = f"{scheme}.{viewport['width']}@example.org"

    sign_up(page, "Ada", email)
    upload(page)
    call(page, f"{shop.partner}/flaky")

    letter, photo, hook = (
        ticket(page, title) for title in ("Become a regular", "Have a photo developed", "Ring a partner")
    )
    expect(hook).to_have_attribute("data-state", "retrying")
    expect(hook).to_contain_text("503")
    picture(page, f"working-{scheme}-{viewport['width']}")
    expect(letter).to_contain_text(f"Sent to {email}.")
    expect(photo).to_have_attribute("data-state", "succeeded")
    expect(photo.get_by_role("progressbar")).to_have_js_property("value", 1)
    expect(photo.locator("img")).to_have_count(3)
    for image in photo.locator("img").all():
        expect(image).not_to_have_js_property("naturalWidth", 0)
    expect(hook).to_contain_text("The partner took it (200).")
    expect(hook).to_contain_text("attempt 4")
    picture(page, f"done-{scheme}-{viewport['width']}")

    wider_than_the_screen = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wider_than_the_screen
    assert [mail["To"][0]["Address"] for mail in shop.mails()].count(email) == 1


def test_a_dead_letter_says_how_to_replay_it_and_is_seen_to_come_back(
    open_page: Any, shop: ShopStack, picture: Any
) -> None:
    page = open_page(viewport=DESKTOP)
    call(page, f"{shop.partner}/broken")
    hook = ticket(page, "Ring a partner")
    expect(hook).to_have_attribute("data-state", "dead")
    command = hook.locator("code").inner_text()
    assert re.fullmatch(r"flask jobs dead replay [0-9a-f-]{36}", command)
    picture(page, "dead")

    shop.request(f"{shop.partner}/repair", {})
    shop.flask(*command.split()[1:])

    expect(hook).to_contain_text("The partner took it (200).")


def test_tickets_survive_a_reload(open_page: Any) -> None:
    page = open_page()
    sign_up(page, "Grace", "grace@example.org")
    expect(ticket(page, "Become a regular")).to_have_attribute("data-state", "succeeded")
    page.reload()
    expect(ticket(page, "Become a regular")).to_contain_text("Sent to grace@example.org.")


def test_signing_up_twice_sends_one_mail(open_page: Any, shop: ShopStack) -> None:
    page = open_page()
    for outcome in ("Sent to twice@example.org.", "the letter went out before"):
        sign_up(page, "Twice", "twice@example.org")
        expect(ticket(page, "Become a regular")).to_contain_text(outcome)
    assert [mail["To"][0]["Address"] for mail in shop.mails()].count("twice@example.org") == 1


def test_the_link_in_the_letter_greets(open_page: Any, shop: ShopStack) -> None:
    page = open_page()
    sign_up(page, "Hedy <Lamarr>", "hedy@example.org")
    expect(ticket(page, "Become a regular")).to_have_attribute("data-state", "succeeded")
    mail = next(mail for mail in shop.mails() if mail["To"][0]["Address"] == "hedy@example.org")
    text = shop.request(f"{shop.mailbox}/api/v1/message/{mail['ID']}")["Text"]
    found = re.search(r"http\S+", text)
    assert found is not None
    link = found[0]
    page.goto(link)
    expect(page).to_have_url(f"{shop.url}/hello")  # the token has gone from the address bar
    page.get_by_role("button", name="Come in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Good evening, Hedy <Lamarr>.")
    page.goto("about:blank")  # else only the part behind the # changes, and nothing is loaded
    page.goto(link)
    page.get_by_role("button", name="Come in").click()
    expect(page.locator("body")).to_contain_text("was used before")


@pytest.mark.parametrize(
    ("act", "field", "says"),
    [
        (lambda page: sign_up(page, "", "ada@example.org"), "Name", "not empty"),
        (lambda page: sign_up(page, "Ada", "ada@"), "E-mail", "ada@example.org"),
        (lambda page: upload(page, ROOT / "README.md"), "Picture", "not a picture"),
        (lambda page: page.get_by_role("button", name="Upload").click(), "Picture", "Choose a picture"),
        (lambda page: call(page, "ftp://partner.example/"), "Partner’s URL", "http://"),
        (lambda page: call(page, "https://partner.example/", "{order"), "Order, as JSON", "not JSON"),
    ],
    ids=["name", "email", "not a picture", "no file", "url", "json"],
)
def test_bad_input_is_explained_at_its_field(
    open_page: Any, picture: Any, act: Any, field: str, says: str
) -> None:
    page = open_page(viewport=PHONE)
    act(page)
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text(says)
    expect(page.get_by_label(field)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label(field)).to_be_focused()
    expect(page.locator(".ticket")).to_have_count(0)
    picture(page)


def test_the_page_reports_a_shop_that_does_not_answer_and_retries(open_page: Any) -> None:
    page = open_page()
    page.context.set_offline(True)
    sign_up(page, "Ada", "offline@example.org")
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Sign up").click()
    expect(ticket(page, "Become a regular")).to_contain_text("Sent to offline@example.org.")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_count(0)


def test_the_page_can_be_used_with_the_keyboard(open_page: Any) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the forms")).to_be_focused()
    page.get_by_label("Name").fill("Key")
    page.get_by_label("E-mail").fill("key@example.org")
    page.keyboard.press("Enter")
    expect(ticket(page, "Become a regular")).to_contain_text("Sent to key@example.org.")
    expect(page.get_by_role("status")).to_contain_text("mail.send_welcome: Done")


def test_the_printed_link_opens_the_dashboard(open_page: Any, shop: ShopStack) -> None:
    """The shop has no SECRET_KEY; ``flask jobs up`` gives its processes a key for the links."""
    found = re.search(rf"{shop.url}/nightshift/open/\S+", shop.log.read_text())
    assert found is not None
    page = open_page("/nightshift/")
    expect(page.get_by_role("heading", level=1)).to_have_text("This dashboard is closed")
    page.goto(found[0])
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.get_by_role("button", name="Sign out").click()
    page.goto(found[0])
    expect(page.get_by_role("heading", level=1)).to_have_text("This link does not open anything")
