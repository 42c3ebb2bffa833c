"""The Routes and Decisions panels, on a stub gateway's live feed."""

from __future__ import annotations

import re
from dataclasses import replace
from time import monotonic

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gateway.telemetry.decisions import Candidate, Tried
from gateway.telemetry.standing import Standing
from tests.browser.conftest import Complaints
from tests.browser.stub import Stub, serving
from tests.browser.telling import Telling
from tests.telemetry.happened import (
    FAST,
    OUT,
    SLOW,
    failed,
    fell_back,
    hedged,
    made,
    probed,
    sample,
    served,
    shadowed,
    standings,
)

pytestmark = [pytest.mark.browser, pytest.mark.wire]


@pytest.fixture
def telling(stub: Stub) -> Telling:
    stub.telling.standing = standings()
    return stub.telling


@pytest.fixture
def routes(page: Page, stub: Stub, telling: Telling) -> Page:
    """The console, its routes in view and the first standing shown."""
    page.goto(f"{stub.address}/#routes")
    expect(page.locator(".targets-table tbody tr")).to_have_count(2)
    return page


def test_each_target_shows_its_figures_what_it_is_doing_and_why(routes: Page) -> None:
    fast, slow = routes.locator(".targets-table tbody tr").all()
    for column, figure in (("ttft", "200"), ("tail", "310"), ("errors", "1 %"), ("share", "75 %"), ("flight", "3")):
        expect(fast.locator(f".{column} .number")).to_have_text(figure)
    expect(fast.locator(".doing")).to_have_text("serving")
    expect(slow.locator(".doing")).to_have_text("ejected, back in 8 s")
    expect(slow.locator(".why")).to_have_text("3 failures in a row")
    expect(routes.locator("#routes-state")).to_have_text(f"out: {SLOW}")
    routes.click(".sleepers summary")
    expect(routes.locator(".sleepers li")).to_have_text(f"{OUT} weights are missing")


def test_an_ejection_counts_down_and_ends(routes: Page, telling: Telling) -> None:
    slow = routes.locator(".targets-table tbody tr").nth(1)
    expect(slow.locator(".countdown .left")).to_have_attribute("width", "100.0%")
    telling.standing[1] = replace(telling.standing[1], ejected_for=2.5)
    expect(slow.locator(".doing")).to_have_text("ejected, back in 3 s")
    expect(slow.locator(".countdown .left")).to_have_attribute("width", "33.3%")
    telling.standing[1] = replace(telling.standing[1], ejected_for=None, why=None, error_rate=0.1)
    expect(slow.locator(".doing")).to_have_text("serving")
    expect(slow.locator(".countdown")).to_be_hidden()
    expect(routes.locator("#routes-state")).to_have_text("2 targets awake")


def test_a_target_that_fails_and_is_left_in_is_named_and_one_that_was_not_asked_is_idle(
    routes: Page, telling: Telling
) -> None:
    fast, slow = routes.locator(".targets-table tbody tr").all()
    telling.standing[0] = Standing("chat", "llm", FAST, error_rate=0.9, samples=3.0)
    telling.standing[1] = Standing("chat", "llm", SLOW)
    expect(fast.locator(".doing")).to_have_text("failing")
    expect(slow.locator(".doing")).to_have_text("idle")


def test_a_sparkline_has_gaps_where_nothing_was_measured_and_marks_where_attempts_failed(
    page: Page, stub: Stub, telling: Telling
) -> None:
    telling.history([[sample(0.2)], [sample(0.4)], [], [], [sample(0.1)], [sample(None, "unavailable")] * 2])
    page.goto(f"{stub.address}/#routes")
    fast = page.locator(".spark").first
    expect(fast).to_have_attribute(
        "aria-label", "TTFT over the last 5 minutes: latest 100, lowest 100, highest 400 milliseconds; 2 failed"
    )
    line, dots = (fast.locator("path").nth(n).get_attribute("d") or "" for n in (1, 2))
    assert line.count("L") == 1, "two neighbours are one stroke"
    assert dots.count("M") == 1, "the lone one is a dot"
    assert (fast.locator(".spark-failures").get_attribute("d") or "").count("M") == 1
    expect(page.locator(".spark-scale")).to_have_text("TTFT, 5 min, 0 to 500 ms")


def test_a_decision_appears_as_it_settles_and_opens_by_keyboard(routes: Page, telling: Telling) -> None:
    expect(routes.locator("#decisions-empty")).to_have_text("No request yet.")
    telling.happen(fell_back())
    row = routes.locator("#decisions-list > li")
    expect(row).to_have_count(1)
    expect(row.locator("summary")).to_contain_text(FAST)
    expect(row.locator(".wait")).to_have_text("600 ms")
    expect(row.locator(".badge")).to_have_text(["retried", "fell back", "1 left out"])
    row.locator("summary").focus()
    routes.keyboard.press("Enter")
    considered = row.locator(".considered tbody tr")
    expect(considered).to_have_text(
        [
            re.compile(rf"1\s*{FAST}\s*0\.210\s*200 ms"),
            re.compile(rf"2\s*{SLOW}\s*0\.440\s*400 ms"),
            re.compile(rf"–\s*{OUT}\s*ejected: 3 failures in a row"),
        ]
    )
    expect(row.locator(".attempt-who")).to_have_text([f"first {SLOW}", f"retry {SLOW}", f"fallback {FAST}"])
    expect(row.locator(".attempt-how")).to_have_text(
        [
            "at 0 ms: unavailable, Unavailable 503",
            "at 300 ms: unavailable, Unavailable 503",
            "at 400 ms: ok, first after 200 ms",
        ]
    )


def test_probes_and_shadow_copies_are_told_apart_from_what_callers_got(routes: Page, telling: Telling) -> None:
    telling.standing[1] = Standing("chat", "llm", SLOW, samples=3.0, shadow=True)
    telling.happen(shadowed(1000.0), probed(1060.0))
    expect(routes.locator(".targets-table tbody tr").nth(1).locator(".doing")).to_have_text("shadow")
    probe, request = routes.locator("#decisions-list > li").all()
    expect(probe.locator(".chosen")).to_have_text(FAST)
    expect(probe.locator(".badge")).to_have_text(["probe"])
    expect(request.locator(".chosen")).to_have_text(FAST)
    expect(request.locator(".badge")).to_have_text(["hedge won", "shadowed", "1 left out"])


def test_what_happened_before_the_page_was_opened_is_there_newest_first(
    page: Page, stub: Stub, telling: Telling
) -> None:
    telling.happen(served(1000.0), failed(1060.0))
    page.goto(f"{stub.address}/#routes")
    expect(page.locator("#decisions-list .chosen")).to_have_text(["no answer", FAST])
    expect(page.locator("#decisions-list .badge.bad")).to_have_text("rate limited")
    telling.happen(hedged(1120.0))
    expect(page.locator("#decisions-list > li")).to_have_count(3)
    expect(page.locator("#decisions-list > li").first).to_contain_text("hedge won")


def test_the_list_narrows_to_a_route_or_to_trouble(routes: Page, telling: Telling) -> None:
    telling.standing.append(Standing("other", "llm", FAST))
    telling.happen(served(), fell_back(), served(route="other"))
    visible = routes.locator("#decisions-list > li:visible")
    expect(visible).to_have_count(3)
    routes.check("#decisions-trouble")
    expect(visible).to_have_count(1)
    routes.uncheck("#decisions-trouble")
    expect(routes.locator("#decisions-route option")).to_have_text(["every route", "chat", "other"])
    routes.select_option("#decisions-route", "other")
    expect(visible).to_have_count(1)
    telling.happen(served(2000.0, route="other"), served(2000.0))
    expect(visible).to_have_count(2)
    expect(visible.locator(".route-name")).to_have_text(["other", "other"])


def test_paused_the_list_holds_still_and_counts_what_waits(routes: Page, telling: Telling) -> None:
    telling.happen(served(1000.0))
    rows = routes.locator("#decisions-list > li")
    expect(rows).to_have_count(1)
    routes.click("#decisions-pause")
    telling.happen(served(1001.0), served(1002.0))
    expect(routes.locator("#decisions-pause")).to_have_text("Resume (2 new)")
    expect(rows).to_have_count(1)
    routes.click("#decisions-pause")
    expect(rows).to_have_count(3)
    expect(routes.locator("#decisions-pause")).to_have_text("Pause")


def test_a_flood_leaves_the_latest_and_what_is_being_read(routes: Page, telling: Telling) -> None:
    telling.happen(failed(1.0))
    read = routes.locator("#decisions-list > li", has_text="no answer")
    read.locator("summary").click()
    for second in range(2, 402, 50):
        telling.happen(*(served(float(n)) for n in range(second, second + 50)))
        expect(routes.locator("#decisions-list time").first).to_have_attribute("datetime", stamp(second + 49))
    expect(read.locator(".attempts")).to_be_visible()
    assert routes.locator("#decisions-list > li").count() <= 101


def stamp(unix: int) -> str:
    return f"1970-01-01T00:{unix // 60:02}:{unix % 60:02}.000Z"


def test_markup_in_names_and_reasons_is_text(page: Page, stub: Stub, telling: Telling) -> None:
    mark = "<img src=x onerror=alert(1)>"
    telling.standing = [
        Standing(f"{mark}r", "llm", f"{mark}t", ejected_for=1.0, why=f"{mark}w"),
        Standing(f"{mark}r", "llm", f"{mark}s", asleep=f"{mark}a"),
    ]
    decision = made(Tried(f"{mark}t", "first", 0.0, "unavailable", None, 0.1, f"{mark}e"), route=f"{mark}r")
    decision.candidates = (Candidate(f"{mark}c", excluded=f"{mark}x"),)
    telling.happen(decision)
    page.goto(f"{stub.address}/#routes")
    page.locator("#decisions-list summary").click()
    for place in (".route h3", ".name", ".why", ".considered", ".attempt-who", ".attempt-how", ".sleepers li"):
        assert mark in (page.locator(place).first.text_content() or ""), place
    assert page.locator("img").count() == 0


def test_the_feed_is_left_when_nobody_looks(routes: Page, telling: Telling, stub: Stub) -> None:
    assert len(telling.kept.feed) == 1
    routes.keyboard.press("r")
    expect(routes.locator("#call")).to_be_visible()
    expect(routes.locator("#routes")).to_be_hidden()
    give_up = monotonic() + 5
    while len(telling.kept.feed) and monotonic() < give_up:
        routes.wait_for_timeout(20)
    assert len(telling.kept.feed) == 0
    routes.keyboard.press("r")
    expect(routes.locator("#routes")).to_be_focused()
    expect(routes.locator("#call")).to_be_hidden()
    routes.keyboard.press("/")
    expect(routes.locator("#chat-text")).to_be_focused()


def test_a_feed_without_room_says_so_and_is_joined_when_there_is(
    context: BrowserContext, complaints: Complaints
) -> None:
    with serving(Stub(telling=Telling(listeners=1))) as stub:
        stub.telling.standing = standings()
        other, page = context.new_page(), context.new_page()
        complaints.listen(page)
        other.goto(f"{stub.address}/#routes")
        expect(other.locator(".targets-table")).to_have_count(1)
        page.goto(f"{stub.address}/#routes")
        expect(page.locator("#routes-notice")).to_contain_text("refused the live feed")
        expect(page.locator("#routes-state")).to_have_text("Not live")
        other.close()
        expect(page.locator(".targets-table")).to_have_count(1, timeout=10_000)
        expect(page.locator("#routes-notice")).to_be_hidden()
        page.close()
    complaints.expect("503")


def test_a_gateway_that_went_away_is_said_and_what_it_last_said_stays(
    routes: Page, telling: Telling, complaints: Complaints
) -> None:
    telling.close()
    expect(routes.locator("#routes-notice")).to_contain_text("cannot be reached")
    expect(routes.locator(".targets-table tbody tr")).to_have_count(2)
    assert routes.locator("#routes-list.stale").count() == 1


def test_the_view_works_by_keyboard(routes: Page, telling: Telling) -> None:
    telling.happen(served())
    expect(routes.locator("#decisions-list > li")).to_have_count(1)
    routes.locator("#routes").focus()
    seen = []
    for _ in range(8):
        routes.keyboard.press("Tab")
        seen.append(routes.evaluate("document.activeElement.id || document.activeElement.tagName"))
        outline = routes.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline not in {"none", ""} or seen[-1] == "BODY", f"no focus ring on {seen[-1]}"
    assert seen == [
        "routes-list",
        "SUMMARY",
        "decisions-route",
        "decisions-trouble",
        "decisions-pause",
        "DIV",
        "SUMMARY",
        "keys-on",
    ]


@pytest.mark.parametrize("width", [360, 390, 768, 1020, 1100, 1440])
def test_nothing_scrolls_sideways(routes: Page, telling: Telling, width: int) -> None:
    telling.standing = [replace(each, target=each.target + "-unbroken" * 12) for each in standings()]
    telling.happen(fell_back())
    routes.set_viewport_size({"width": width, "height": 740})
    routes.locator("#decisions-list summary").click()
    routes.locator(".sleepers summary").click()
    assert routes.evaluate("document.documentElement.scrollWidth") <= width
    for box in ("#routes-list", "#decisions .log"):
        wide, room = routes.evaluate(f"(b => [b.scrollWidth, b.clientWidth])(document.querySelector('{box}'))")
        assert wide <= room, box
