"""A real Chromium, headless, that talks to this machine only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

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


@contextmanager
def chromium(path: Path, *more: str, flags: Sequence[str] = FLAGS) -> Iterator[Browser]:
    """Synchronous: an async test cannot run while it is open, so its fixtures last a module at most."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*flags, *more])
        try:
            yield browser
        finally:
            browser.close()
