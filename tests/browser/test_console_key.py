"""The console of a gateway that asks for a key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chromium import eventually
from tests.browser.stub import Stub

pytestmark = [pytest.mark.browser, pytest.mark.wire]


@pytest.fixture
def page(context: BrowserContext, stub: Stub) -> Iterator[Page]:
    stub.key = "tl_good"
    opened = context.new_page()
    opened.goto(f"{stub.address}/")
    yield opened
    opened.close()


def test_a_key_is_asked_for_used_everywhere_and_kept_for_this_tab_alone(
    page: Page, context: BrowserContext, stub: Stub
) -> None:
    expect(page.locator("#key-form")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Key needed")
    page.fill("#key", "tl_wrong")
    page.press("#key", "Enter")
    expect(page.locator("#key-told")).to_have_text("The last one is not good (any more).")
    page.fill("#key", "tl_good")
    page.press("#key", "Enter")
    expect(page.locator("#key-form")).to_be_hidden()
    expect(page.locator("#chat-route option").first).to_have_text("chat")
    page.fill("#chat-text", "Hello")
    page.press("#chat-text", "Enter")
    expect(page.locator("#chat-log .agent .text")).to_have_text("Calls take turns.")
    page.goto(f"{stub.address}/#routes")
    page.reload()
    expect(page.locator("#routes-state")).to_contain_text("awake")
    expect(page.locator("#key-form")).to_be_hidden()
    other = context.new_page()
    other.goto(f"{stub.address}/")
    expect(other.locator("#key-form")).to_be_visible()


def test_a_key_that_is_revoked_is_asked_for_again(page: Page, stub: Stub) -> None:
    page.fill("#key", "tl_good")
    page.press("#key", "Enter")
    expect(page.locator("#chat-route option").first).to_have_text("chat")
    stub.key = "tl_next"
    page.fill("#chat-text", "Hello")
    page.press("#chat-text", "Enter")
    expect(page.locator("#key-form")).to_be_visible()
    page.fill("#key", "tl_next")
    page.press("#key", "Enter")
    page.press("#chat-text", "Enter")
    expect(page.locator("#chat-log .agent .text").last).to_have_text("Calls take turns.")
    eventually(page, lambda: len(stub.chats) == 1)
