"""A real Chromium, headless, that talks to this machine only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # A name that is no localhost: what the page looks like to a browser that finds it insecure.
    "--host-resolver-rules=MAP insecure.test 127.0.0.1",
)


def until(page: Page, expression: str, within: float = 5.0) -> None:
    """Until JavaScript's `expression` is true. Playwright's own wait_for_function calls eval, which our policy forbids."""
    give_up = monotonic() + within
    while not page.evaluate(expression):
        assert monotonic() < give_up, f"not within {within} s: {expression}"
        page.wait_for_timeout(30)


def eventually(page: Page, holds: Callable[[], bool], within: float = 5.0) -> None:
    """Until it holds; the page goes on meanwhile."""
    give_up = monotonic() + within
    while not holds():
        assert monotonic() < give_up, f"not within {within} s"
        page.wait_for_timeout(20)


@contextmanager
def chromium(path: Path, *more: str, flags: Sequence[str] = FLAGS) -> Iterator[Browser]:
    """Synchronous: an async test cannot run while it is open, so its fixtures last a module at most."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*flags, *more])
        try:
            yield browser
        finally:
            browser.close()
