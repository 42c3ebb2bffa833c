"""Pages of a real Chromium on a stub gateway. Everything here is synchronous, and lasts a module at most: see chromium.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.browser.chromium import chromium
from tests.browser.stub import Stub, serving

FAKE_RTC = Path(__file__).parent / "fake_rtc.js"


@pytest.fixture(scope="module")
def chrome(browser: Path) -> Iterator[Browser]:
    with chromium(browser) as running:
        yield running


@pytest.fixture
def stub() -> Iterator[Stub]:
    """One for each test: what a page of the last one still says on its way out is not heard here."""
    with serving(Stub()) as running:
        yield running


@pytest.fixture
def context(chrome: Browser) -> Iterator[BrowserContext]:
    opened = chrome.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened.set_default_timeout(5000)
    yield opened
    opened.close()


@dataclass
class Complaints:
    """What a page's console said in anger. A test that expects a word of it takes it out."""

    said: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def expect(self, words: str) -> None:
        found = [each for each in self.said if words in each]
        assert found, f"nothing said {words!r}, but: {self.said}"
        self.said = [each for each in self.said if words not in each]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    kept = Complaints()
    yield kept
    assert kept.said == []


@pytest.fixture
def page(context: BrowserContext, stub: Stub, complaints: Complaints) -> Page:
    """The console, its routes listed."""
    opened = context.new_page()
    complaints.listen(opened)
    opened.goto(stub.address)
    opened.locator("#call-route option").first.wait_for(state="attached")
    return opened


@pytest.fixture
def scripted(context: BrowserContext) -> None:
    """For a page opened after this: its calls are the test's to script."""
    context.add_init_script(path=FAKE_RTC)
