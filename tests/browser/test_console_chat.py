"""The Chat panel and the page around it, on a stub gateway."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import eventually
from tests.browser.conftest import Complaints
from tests.browser.stub import ROUTES, Stub

pytestmark = [pytest.mark.browser, pytest.mark.wire]


def ask(page: Page, text: str) -> None:
    page.fill("#chat-text", text)
    page.press("#chat-text", "Enter")


def test_an_answer_streams_with_its_target_and_ttft(page: Page, stub: Stub) -> None:
    ask(page, "What do calls take?")
    expect(page.locator("#chat-log .agent .text")).to_have_text("Calls take turns.")
    expect(page.locator("#chat-log .meta")).to_contain_text("local_llm/smollm2")
    expect(page.locator("#chat-log .meta")).to_contain_text("TTFT")
    expect(page.locator("#chat-send")).to_be_visible()
    ask(page, "And then?")
    expect(page.locator("#chat-log .agent .text").nth(1)).to_have_text("Calls take turns.")
    sent = stub.chats[-1]
    assert sent["model"] == "chat"
    assert sent["stream"] is True
    assert [each["role"] for each in sent["messages"]] == ["user", "assistant", "user"]


def test_stop_leaves_what_came_and_hangs_up_on_the_gateway(page: Page, stub: Stub) -> None:
    stub.pieces, stub.pause = ["word "] * 200, 0.05
    ask(page, "Talk")
    expect(page.locator("#chat-log .agent .text")).to_contain_text("word word")
    page.click("#chat-stop")
    expect(page.locator("#chat-log .meta")).to_contain_text("stopped")
    expect(page.locator("#chat-send")).to_be_visible()
    eventually(page, lambda: stub.left == 1)


def test_a_refusal_is_shown_in_the_gateways_words_and_the_text_comes_back(
    page: Page, stub: Stub, complaints: Complaints
) -> None:
    stub.chat_error = (503, "every target of route 'chat' failed: local_llm/smollm2: no worker")
    ask(page, "Hello?")
    expect(page.locator("#chat-notice")).to_contain_text("local_llm/smollm2: no worker")
    expect(page.locator("#chat-text")).to_have_value("Hello?")
    expect(page.locator("#chat-send")).to_be_visible()
    complaints.expect("503")
    stub.chat_error = None
    page.press("#chat-text", "Enter")
    expect(page.locator("#chat-log .agent .text").last).to_have_text("Calls take turns.")
    expect(page.locator("#chat-notice")).to_be_hidden()
    assert len(stub.chats[-1]["messages"]) == 1


def test_an_answer_cut_off_is_not_taken_for_a_whole_one(page: Page, stub: Stub) -> None:
    stub.cut = True
    ask(page, "Hello?")
    expect(page.locator("#chat-notice")).to_contain_text("broke off")
    expect(page.locator("#chat-log .meta")).to_contain_text("cut off")


def test_markup_in_an_answer_is_text(page: Page, stub: Stub) -> None:
    stub.pieces = ["<img src=x ", "onerror=alert(1)> <b>bold</b>"]
    ask(page, "<i>me</i>")
    expect(page.locator("#chat-log .agent .text")).to_have_text("<img src=x onerror=alert(1)> <b>bold</b>")
    assert page.locator("#chat-log img, #chat-log b, #chat-log i").count() == 0


def test_a_model_that_warms_is_named_until_it_is_warm(page: Page, stub: Stub) -> None:
    expect(page.locator("#status")).to_have_text("Ready")
    stub.warm = {**stub.warm, "local_llm/smollm2": "warming"}
    page.reload()
    expect(page.locator("#status")).to_have_text("Models warming: smollm2")
    expect(page.locator("#chat-notice")).to_contain_text("Still warming: local_llm/smollm2")
    expect(page.locator("#call-notice")).to_contain_text("Still warming: local_llm/smollm2")
    expect(page.locator("#call-start")).to_be_enabled()
    stub.warm = {**stub.warm, "local_llm/smollm2": "warm"}
    expect(page.locator("#status")).to_have_text("Ready")
    expect(page.locator("#chat-notice")).to_be_hidden()


def test_a_model_that_failed_to_warm_is_named(page: Page, stub: Stub) -> None:
    stub.warm = {**stub.warm, "local_tts/joe": "failed: weights are missing"}
    page.reload()
    expect(page.locator("#status")).to_have_text("Failed: local_tts/joe")
    assert "weights are missing" in (page.get_attribute("#status", "title") or "")


def test_a_route_asleep_says_why_and_cannot_be_used(page: Page) -> None:
    page.select_option("#chat-route", "cloud")
    expect(page.locator("#chat-notice")).to_have_text("Route cloud is asleep: openai/gpt: OPENAI_API_KEY is not set")
    expect(page.locator("#chat-send")).to_be_disabled()
    page.select_option("#call-route", "desk")
    expect(page.locator("#call-notice")).to_contain_text("Route desk is asleep: cloud:")
    expect(page.locator("#call-start")).to_be_disabled()
    page.select_option("#call-route", "agent")
    expect(page.locator("#call-notice")).to_be_hidden()
    expect(page.locator("#call-start")).to_be_enabled()


def test_each_panel_lists_the_routes_of_its_kind(page: Page) -> None:
    for panel, kind in (("#call-route", "call"), ("#chat-route", "llm")):
        listed = page.locator(f"{panel} option").evaluate_all("all => all.map((one) => one.value)")
        assert listed == [route["id"] for route in ROUTES if route["trunkline"]["kind"] == kind]


def test_a_gateway_that_went_away_is_said(page: Page, context_offline: Complaints) -> None:
    ask(page, "Hello?")
    expect(page.locator("#chat-notice")).to_contain_text("cannot be reached")
    context_offline.expect("ERR_INTERNET_DISCONNECTED")


@pytest.fixture
def context_offline(page: Page, complaints: Complaints) -> Complaints:
    page.context.set_offline(True)
    return complaints


def test_the_whole_page_works_by_keyboard(page: Page, stub: Stub) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    seen = []
    for _ in range(9):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline not in {"none", ""} or seen[-1] == "BODY", f"no focus ring on {seen[-1]}"
    wanted = ["call-route", "call-start", "log", "chat-route", "chat-log", "chat-text"]
    assert [each for each in seen if each in wanted] == wanted
    page.locator("#call-start").focus()
    page.keyboard.press("/")
    expect(page.locator("#chat-text")).to_be_focused()
    page.keyboard.type("c/m")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(page.locator("#chat-log .agent .text")).to_have_text("Calls take turns.")
    assert stub.chats[-1]["messages"][0]["content"] == "c/m\nsecond line"
    assert stub.offers == [], "a letter typed into the message started a call"


def test_single_keys_can_be_switched_off_and_stay_off(page: Page, stub: Stub) -> None:
    page.uncheck("#keys-on")
    page.reload()
    expect(page.locator("#call-start")).to_be_enabled()
    page.locator("#call-start").focus()
    page.keyboard.press("c")
    page.keyboard.press("/")
    expect(page.locator("#call-start")).to_be_focused()
    assert stub.offers == []


@pytest.mark.parametrize("width", [360, 390, 768, 1020, 1440])
def test_nothing_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    ask(page, "unbroken" * 40)
    expect(page.locator("#chat-log .agent")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_events_are_split_wherever_the_bytes_were_cut(page: Page) -> None:
    found = page.evaluate(
        """async () => {
            const { Splitter } = await import("/console/sse.js");
            const text =
                ": hi\\r\\n\\r\\nevent: first\\r\\ndata: one\\r\\n\\r\\n" +
                "data: two\\ndata: lines\\n\\ndata:three\\r\\rdata: unfinished";
            return [...Array(text.length + 1).keys()].map((cut) => {
                const split = new Splitter();
                const found = [...split.push(text.slice(0, cut)), ...split.push(text.slice(cut))];
                return found.map(({ event, data }) => `${event} ${data}`).join("|");
            });
        }"""
    )
    assert set(found) == {"first one|message two\nlines|message three"}
