"""Makes docs/console.png: a real call and a real chat with the embedded models, in a real Chromium.

    .venv/bin/python -m scripts.console_picture          # with Inter and JetBrains Mono installed, and pngquant if it is there

Nothing in the picture is made up; take it on a quiet machine, since its figures are that machine's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

import httpx
from playwright.sync_api import Page, expect

from tests.browser import microphone
from tests.browser.chromium import chromium
from tests.needs import ROOT, find_browser

PICTURE = ROOT / "docs" / "console.png"
UTTERANCES = [
    ROOT / "tests" / "data" / "speech" / f"{name}.wav" for name in ("k02_kokoro_am_michael", "k01_kokoro_af_heart")
]
GAPS = (5.5, 16.0)
LEAD = 2.0
WARM_WITHIN = 90.0


def main() -> int:
    browser = find_browser()
    if browser is None:
        print("no Chromium or Chrome is installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        log, spoken = Path(folder) / "log", Path(folder) / "speech.wav"
        microphone.write(spoken, UTTERANCES, LEAD, GAPS)
        command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
        with log.open("w") as written, subprocess.Popen(command, cwd=ROOT, stdout=written, stderr=written) as process:
            try:
                address = _when_warm(log)
                with chromium(browser, f"--use-file-for-fake-audio-capture={spoken}%noloop") as chrome:
                    page = chrome.new_page(viewport={"width": 1360, "height": 850}, device_scale_factor=1.5)
                    page.goto(address)
                    _talk(page)
                    page.screenshot(path=PICTURE)
            finally:
                process.terminate()
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--output", PICTURE, "128", PICTURE], check=False)
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")
    return 0


def _when_warm(log: Path) -> str:
    give_up = monotonic() + WARM_WITHIN
    while monotonic() < give_up:
        if address := re.search(r"open (http://\S+)", log.read_text()):
            warm = httpx.get(f"{address[1]}/readyz", trust_env=False).json()["warm"]
            if all(state == "warm" for state in warm.values()):
                return address[1]
        sleep(0.2)
    raise SystemExit(f"not warm within {WARM_WITHIN} s:\n{log.read_text()}")


def _talk(page: Page) -> None:
    """A chat, then a call whose first answer is interrupted; returns while the second is being spoken."""
    expect(page.locator("#status")).to_have_text("Ready")
    page.fill("#chat-text", "Write one sentence about the telephone.")
    page.press("#chat-text", "Enter")
    expect(page.locator("#chat-send")).to_be_visible(timeout=30_000)
    page.click("#call-start")
    second = page.locator(".exchange").nth(1)
    second.locator(".agent.speaking").wait_for(timeout=60_000)
    expect(second.locator(".turn-total")).to_contain_text("ms", timeout=15_000)
    page.wait_for_timeout(1200)


if __name__ == "__main__":
    sys.exit(main())
