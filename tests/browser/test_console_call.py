"""The Call panel on a stub gateway, with a scripted connection: what it shows, and what it says when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser import scenes
from tests.browser.chromium import eventually, until
from tests.browser.conftest import Complaints
from tests.browser.stub import Stub

pytestmark = [pytest.mark.browser, pytest.mark.wire, pytest.mark.usefixtures("scripted")]


@pytest.fixture
def called(page: Page) -> Iterator[Page]:
    """On a call."""
    page.click("#call-start")
    expect(page.locator("#call-state")).to_contain_text("On a call")
    yield page
    page.evaluate("window.peer.close()")


def play(page: Page, scene: scenes.Scene) -> None:
    for label, messages in scene:
        page.evaluate("([label, messages]) => window.peer.say(label, ...messages)", [label, messages])


def sent(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("window.peer.channels.gateway.sent")
    return found


def test_a_call_offers_the_microphone_and_both_channels_and_knows_the_relays(called: Page, stub: Stub) -> None:
    assert stub.offers == ["v=0 offer"]
    expect(called.locator("#call-empty")).to_have_text("Listening. Say something.")
    assert called.evaluate("Object.keys(window.peer.channels)") == ["oai-events", "gateway"]
    relays = {"iceServers": stub.ice_servers}
    assert called.evaluate("[window.peer.track.kind, window.peer.settings]") == ["audio", relays]


def test_partials_are_revised_in_place_and_the_final_text_replaces_them(called: Page) -> None:
    (started, partials, final) = scenes.heard("item_1", "Book me a table")
    play(called, [started])
    words = called.locator(".exchange .caller .text")
    expect(words).to_have_text("…")
    expect(called.locator("#call-empty")).to_be_hidden()
    play(called, [("gateway", [{"type": "partial", "text": "Look me"}])])
    expect(words).to_contain_text("Look me")
    play(called, [partials])
    expect(words).to_contain_text("Book me a")
    play(called, [final])
    expect(words).to_contain_text("Book me a table")
    expect(called.locator(".exchange")).to_have_count(1)
    expect(called.locator("#announce")).to_have_text("You: Book me a table")


def test_a_call_without_the_gateway_channels_partials_shows_the_deltas(called: Page) -> None:
    kind = "conversation.item.input_audio_transcription.delta"
    deltas = [{"type": kind, "item_id": "item_1", "content_index": 0, "delta": word} for word in ("Book ", "me ")]
    play(called, [("oai-events", deltas)])
    expect(called.locator(".exchange .caller .text")).to_contain_text("Book me")


def test_each_turn_is_drawn_with_its_names_numbers_and_targets(called: Page) -> None:
    play(called, scenes.two_turns())
    drawn = called.locator(".exchange").first.locator(".waterfall")
    names = drawn.locator(".bar-name").all_text_contents()
    assert names == ["end_of_turn_delay", "transcription_delay", "llm_node_ttft", "tts_node_ttfb", "e2e_latency"]
    assert drawn.locator(".bar-ms").all_text_contents() == ["263", "241", "75", "154", "603"]
    assert drawn.locator("rect.bar:not(.rest)").count() == 5
    assert drawn.locator("circle.dot").count() == 9
    for target in scenes.TARGETS.values():
        expect(drawn.locator(".targets")).to_contain_text(target)
    drawn.locator("summary").click()
    expect(drawn.locator(".marks li")).to_have_text(
        [
            "last_speech_rtp0",
            "vad_stop182",
            "stt_final241",
            "turn_decided263",
            "llm_first_token338",
            "first_clause427",
            "tts_first_byte581",
            "first_audible_sample584",
            "first_sent603",
        ]
    )
    expect(called.locator("#figure-last")).to_have_text("712 ms")
    expect(called.locator("#figure-turns")).to_have_text("2")


def test_a_bar_begins_where_its_stage_was_asked_and_ends_at_its_mark(called: Page) -> None:
    play(called, [*scenes.heard("item_1", "Hello there"), *scenes.timed("turn_1", 100.0)])
    bar = called.locator("rect.bar[data-stage=tts]:not(.rest)")
    # Of 800 ms: asked at 427, first byte at 581.
    assert float((bar.get_attribute("x") or "").rstrip("%")) == pytest.approx(42.7 / 0.8, abs=0.02)
    assert float((bar.get_attribute("width") or "").rstrip("%")) == pytest.approx(15.4 / 0.8, abs=0.02)


def test_a_turn_half_measured_shows_what_is_known_and_is_completed_in_place(called: Page) -> None:
    play(called, [*scenes.heard("item_1", "Hello there"), *scenes.timed("turn_1", 3.0, until=4, done=False)])
    numbers = called.locator(".bar-ms")
    expect(numbers).to_have_text(["263", "241", "–", "–", "–"])
    play(called, scenes.timed("turn_1", 3.0))
    expect(numbers).to_have_text(["263", "241", "75", "154", "603"])
    expect(called.locator(".waterfall")).to_have_count(1)


def test_what_was_not_heard_is_struck(called: Page) -> None:
    play(called, scenes.two_turns())
    answer = called.locator(".exchange").nth(1).locator(".agent")
    expect(answer.locator(".heard")).to_have_text("Of course. Which doctor would")
    expect(answer.locator("s")).to_have_text("you like to see, and on what day?")
    expect(answer.locator(".cut")).to_contain_text("interrupted")


def test_an_answer_of_which_nothing_was_heard_is_struck_whole(called: Page) -> None:
    play(called, [*scenes.heard("item_1", "Hello there"), *scenes.timed("turn_1", 1.0)])
    play(called, scenes.answered("item_2", "resp_1", "item_1", "Hello to you"))
    play(called, [("gateway", [{"type": "interrupted", "turn": "turn_1", "heard": "", "estimated": False}])])
    expect(called.locator(".agent .heard")).to_have_text("")
    expect(called.locator(".agent s")).to_have_text("Hello to you")


def test_an_answer_joins_the_words_it_answers_even_when_the_caller_speaks_again(called: Page) -> None:
    play(called, scenes.heard("item_1", "First question"))
    play(called, scenes.heard("item_3", "Second question", "item_1")[:1])
    play(called, scenes.answered("item_2", "resp_1", "item_1", "First answer"))
    expect(called.locator(".exchange").first.locator(".agent")).to_contain_text("First answer")
    expect(called.locator(".exchange").nth(1).locator(".agent")).to_be_hidden()


def test_a_cough_leaves_no_row(called: Page) -> None:
    play(called, scenes.heard("item_1", "")[::2])
    expect(called.locator(".exchange")).to_have_count(0)


def test_a_change_of_target_and_an_error_are_told_where_they_happened(called: Page) -> None:
    error = {"type": "error", "error": {"type": "server_error", "code": None, "message": "no voice left"}}
    play(called, [*scenes.third(), ("oai-events", [error])])
    notes = called.locator(".exchange .notes li")
    expect(notes).to_have_text(["llm moved to local_llm/smollm2: groq timed out", "no voice left"])


def test_markup_in_what_was_said_is_text(called: Page) -> None:
    play(called, scenes.heard("item_1", "<img src=x onerror=alert(1)>"))
    expect(called.locator(".caller .heard")).to_have_text("<img src=x onerror=alert(1)>")
    assert called.locator("#exchanges img").count() == 0


def test_mute_stops_the_microphone_and_says_so(called: Page) -> None:
    called.click("#call-mute")
    expect(called.locator("#call-mute")).to_have_attribute("aria-pressed", "true")
    expect(called.locator("#call-state")).to_contain_text("muted")
    assert called.evaluate("window.peer.track.enabled") is False
    called.keyboard.press("m")
    assert called.evaluate("window.peer.track.enabled") is True


def test_hanging_up_tells_the_gateway_and_lets_the_microphone_go(called: Page, stub: Stub) -> None:
    called.click("#call-end")
    expect(called.locator("#call-start")).to_be_visible()
    expect(called.locator("#call-notice")).to_have_text("You hung up.")
    assert called.evaluate("window.peer.track.readyState") == "ended"
    until(called, "window.peer.connectionState === 'closed'")
    assert stub.hung_up == ["rtc_1"]


def test_closing_the_page_hangs_up(called: Page, stub: Stub) -> None:
    called.goto("about:blank")
    eventually(called, lambda: stub.hung_up == ["rtc_1"])
    called.evaluate("window.peer = { close() {} }")


def test_the_playout_delay_is_reported(called: Page) -> None:
    expect(called.locator("#figure-playout")).to_contain_text("ms", timeout=4000)
    report = sent(called)[-1]
    # The stub's jitter buffer held 4.8 s over 96 samples; the device's own part comes on top.
    assert report["type"] == "playout_delay"
    assert 0.05 < report["seconds"] < 0.25


def test_a_call_by_keys_alone(page: Page, stub: Stub) -> None:
    page.locator("#call-start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#call-state")).to_contain_text("On a call")
    expect(page.locator("#call-mute")).to_be_focused()
    page.keyboard.press("h")
    expect(page.locator("#call-start")).to_be_focused()
    eventually(page, lambda: stub.hung_up == ["rtc_1"])


def test_a_refused_call_shows_the_gateways_words(page: Page, stub: Stub, complaints: Complaints) -> None:
    stub.call_error = (503, "route 'agent' has no target awake: $OPENAI_API_KEY is not set")
    page.click("#call-start")
    expect(page.locator("#call-notice")).to_contain_text("has no target awake")
    expect(page.locator("#call-start")).to_be_visible()
    complaints.expect("503")
    assert page.evaluate("window.peer.track.readyState") == "ended"


def test_a_lost_connection_is_said_first_as_a_pause_then_as_the_end(called: Page, stub: Stub) -> None:
    called.evaluate("window.peer.turnTo('disconnected')")
    expect(called.locator("#call-notice")).to_contain_text("interrupted")
    called.evaluate("window.peer.turnTo('connected')")
    expect(called.locator("#call-notice")).to_be_hidden()
    called.evaluate("window.peer.turnTo('failed')")
    expect(called.locator("#call-notice")).to_contain_text("connection was lost")
    expect(called.locator("#call-start")).to_be_visible()


def test_the_gateways_reason_for_ending_is_shown(called: Page, stub: Stub) -> None:
    play(called, [("gateway", [{"type": "ended", "reason": "idle"}])])
    expect(called.locator("#call-notice")).to_have_text("The gateway ended the call: idle.")
    until(called, "window.peer.connectionState === 'closed'")
    assert stub.hung_up == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("NotAllowedError", "The microphone was refused"),
        ("NotFoundError", "No microphone was found"),
        ("NotReadableError", "another program may be holding it"),
        ("OddError", "could not be opened (OddError)"),
    ],
)
def test_a_microphone_that_cannot_be_had_is_explained(
    context: BrowserContext, page: Page, stub: Stub, error: str, told: str
) -> None:
    page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', name)); }", error
    )
    page.click("#call-start")
    expect(page.locator("#call-notice")).to_contain_text(told)
    expect(page.locator("#call-start")).to_be_visible()
    assert stub.offers == []


def test_a_page_without_https_says_what_to_do(page: Page, stub: Stub) -> None:
    page.goto(f"http://insecure.test:{stub.port}/")
    expect(page.locator("#call-start")).to_be_enabled()
    page.click("#call-start")
    expect(page.locator("#call-notice")).to_contain_text("--tls-cert")


@pytest.mark.parametrize("width", [360, 390, 768, 1020, 1440])
def test_a_call_does_not_scroll_sideways_and_hang_up_stays_in_view(called: Page, width: int) -> None:
    called.set_viewport_size({"width": width, "height": 640})
    play(called, [*scenes.two_turns(), *scenes.third()])
    assert called.evaluate("document.documentElement.scrollWidth") <= width
    expect(called.locator(".exchange").last.locator(".agent")).to_be_in_viewport()  # followed as it came
    called.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(called.locator("#call-end")).to_be_in_viewport(ratio=1)


def test_a_call_that_has_two_modes_can_be_changed_and_says_what_became_of_it(called: Page) -> None:
    button, notice = called.locator("#call-mode"), called.locator("#call-notice")
    started = {"type": "call", "call_id": "rtc_1", "route": "live", "mode": "omni"}
    play(called, [("gateway", [{**started, "modes": ["omni"]}])])
    expect(button).to_be_hidden()
    play(called, [("gateway", [{**started, "modes": ["cascaded", "omni"]}])])
    expect(called.locator("#call-state")).to_contain_text("omni")
    expect(button).to_have_text("Change to cascaded")
    button.click()
    expect(button).to_be_disabled()
    assert {"type": "mode", "mode": "cascaded"} in sent(called)
    told = {
        "before": "omni",
        "mode": "cascaded",
        "route": "live",
        "reason": "the client asked for it",
        "seconds": 0.123,
    }
    play(called, [("gateway", [{"type": "mode", **told}])])
    expect(called.locator("#call-state")).to_contain_text("cascaded")
    expect(notice).to_have_text("The call is cascaded now (live, after 123 ms): the client asked for it.")
    expect(button).to_have_text("Change to omni")
    button.click()
    kept = {"mode": "cascaded", "wished": "omni", "reason": "omni did not open: no session"}
    play(called, [("gateway", [{"type": "mode_kept", **kept}])])
    expect(notice).to_have_text("The call stays cascaded: omni did not open: no session.")
    expect(button).to_be_enabled()
