"""What a real Chromium says of a microphone it does not give, and what the page makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import FLAGS, chromium
from tests.browser.stub import Stub, serving

pytestmark = [pytest.mark.browser, pytest.mark.wire]


@pytest.mark.parametrize(
    ("left_out", "more", "told"),
    [
        ("--use-fake-ui", "--deny-permission-prompts", "The microphone was refused. Allow it for this page"),
        ("--use-fake", "--mute-audio", "No microphone was found."),
    ],
    ids=["refused", "missing"],
)
def test_it_is_explained_and_no_call_is_made(browser: Path, left_out: str, more: str, told: str) -> None:
    flags = [flag for flag in FLAGS if not flag.startswith(left_out)]
    with serving(Stub()) as stub, chromium(browser, more, flags=flags) as chrome:
        page = chrome.new_page()
        page.goto(stub.address)
        expect(page.locator("#call-start")).to_be_enabled()
        page.click("#call-start")
        expect(page.locator("#call-notice")).to_contain_text(told)
        expect(page.locator("#call-start")).to_be_visible()
        assert stub.offers == []
