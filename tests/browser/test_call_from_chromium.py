"""The whole path, with nothing replaced: `trunkline serve` with the embedded models, called by a real Chromium.

One call. The fake microphone says every utterance with a pause after it; the first answer is left to end and recorded in
the page, the others are spoken over where they are long. The picture is kept in tests/artifacts.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser import microphone
from tests.browser.chromium import chromium, until
from tests.browser.words import error_rate
from tests.needs import ROOT, SHARED

pytestmark = [pytest.mark.browser, pytest.mark.models, pytest.mark.wire]

WARM_WITHIN = 90.0
LEAD = 2.0
FIRST_GAP = 12.0
GAP = 4.0
NAMES = ["end_of_turn_delay", "transcription_delay", "llm_node_ttft", "tts_node_ttfb", "e2e_latency"]
TARGETS = ("local_stt/moonshine", "local_llm/smollm2", "local_tts/joe")
ARTIFACTS = ROOT / "tests" / "artifacts"

RECORD = """async () => {
    const stream = document.getElementById("agent-audio").srcObject;
    const recorder = (window.recorder = new MediaRecorder(stream, { mimeType: "audio/webm;codecs=opus" }));
    window.recorded = [];
    recorder.addEventListener("dataavailable", ({ data }) => window.recorded.push(data));
    recorder.start();
}"""
RECORDED = """async () => {
    const stopped = new Promise((resolve) => window.recorder.addEventListener("stop", resolve));
    window.recorder.stop();
    await stopped;
    const bytes = new Uint8Array(await new Blob(window.recorded).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


def utterances() -> list[Path]:
    """Our own, and human speech where `../shared` has it (on CI it must: other tests see to that)."""
    own = sorted((ROOT / "tests" / "data" / "speech").glob("k0[12]_*.wav"))
    return own + sorted((SHARED / "speech").glob("r06_*.wav"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real program, warm, at its address."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    log = tmp_path_factory.mktemp("gateway") / "log"
    with log.open("w") as written:
        command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--config", str(ROOT / "routes.yaml")]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=written, stderr=subprocess.STDOUT)
    try:
        yield _when_warm(process, log)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _when_warm(process: subprocess.Popen[bytes], log: Path) -> str:
    give_up = monotonic() + WARM_WITHIN
    while monotonic() < give_up:
        assert process.poll() is None, log.read_text()
        if address := re.search(r"open (http://\S+)", log.read_text()):
            warm = httpx.get(f"{address[1]}/readyz", trust_env=False).json()["warm"]
            if all(state == "warm" for state in warm.values()):
                return address[1]
        sleep(0.2)
    raise AssertionError(f"not warm within {WARM_WITHIN} s:\n{log.read_text()}")


@dataclass(frozen=True)
class Call:
    """What was on the page at the end of the call."""

    page: Page
    gateway: str
    said: str
    """The references, one after the other."""
    first_answer: str
    recording: bytes
    complaints: list[str]


@pytest.fixture(scope="module")
def call(browser: Path, gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    files = utterances()
    spoken = tmp_path_factory.mktemp("microphone") / "speech.wav"
    seconds = microphone.write(spoken, files, LEAD, [FIRST_GAP, *[GAP] * (len(files) - 2), FIRST_GAP])
    with chromium(browser, f"--use-file-for-fake-audio-capture={spoken}%noloop") as chrome:
        page = chrome.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(gateway)
        expect(page.locator("#status")).to_have_text("Ready")
        page.click("#call-start")
        began = monotonic()
        expect(page.locator("#call-state")).to_contain_text("On a call", timeout=10_000)
        until(page, "document.getElementById('agent-audio').srcObject !== null")
        page.evaluate(RECORD)
        first = page.locator(".exchange").first
        first.locator(".agent.speaking").wait_for(timeout=30_000)
        first.locator(".agent:not(.speaking)").wait_for(timeout=30_000)
        recording = base64.b64decode(page.evaluate(RECORDED))
        page.wait_for_timeout(300)  # what was heard of it is told right after
        answer = first.locator(".agent .heard").text_content() or ""
        page.wait_for_timeout(max(0.0, began + seconds - FIRST_GAP - monotonic()) * 1000)
        expect(page.locator(".exchange").last.locator(".turn-total")).to_contain_text("ms", timeout=15_000)
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "call.png")
        said = " ".join(file.with_suffix(".txt").read_text() for file in files)
        yield Call(page, gateway, said, answer, recording, complaints)


def test_the_callers_words_come_back_transcribed(call: Call) -> None:
    transcripts = call.page.locator(".exchange .caller .heard").all_text_contents()
    assert error_rate(call.said, " ".join(transcripts)) <= 0.15, transcripts


def test_the_answer_is_speech_that_our_own_stt_can_read(call: Call) -> None:
    file = ("answer.webm", call.recording, "audio/webm")
    url = f"{call.gateway}/v1/audio/transcriptions"
    heard = httpx.post(url, data={"model": "listen"}, files={"file": file}, timeout=60, trust_env=False).json()["text"]
    assert len(call.first_answer.split()) >= 5
    # Interrupted in the middle of a word, the page and the recording may differ by that word and its neighbour.
    slack = 2 / len(call.first_answer.split())
    assert error_rate(call.first_answer, heard) <= 0.2 + slack, (call.first_answer, heard)


def test_every_turns_waterfall_is_on_the_page(call: Call) -> None:
    drawn = call.page.locator(".exchange .waterfall")
    assert drawn.count() >= len(utterances())
    # An utterance with a pause in it may become two turns, the first of which is never answered.
    answered = [turn for turn in drawn.all() if "ms" in (turn.locator(".turn-total").text_content() or "")]
    assert len(answered) >= len(utterances()) - 1
    for turn in answered:
        assert turn.locator(".bar-name").all_text_contents() == NAMES
        for target in TARGETS:
            expect(turn.locator(".targets")).to_contain_text(target)
    whole = drawn.first
    numbers = [int(number) for number in whole.locator(".bar-ms").all_text_contents()]
    assert all(number >= 0 for number in numbers)
    assert numbers[-1] == max(numbers)
    assert whole.locator("rect.bar:not(.rest)").count() == 5
    assert whole.locator("circle.dot").count() == 9


def test_nothing_on_the_page_complained(call: Call) -> None:
    assert call.complaints == []
    expect(call.page.locator("#call-notice")).to_be_hidden()


def test_hanging_up_ends_the_call_on_both_sides(call: Call) -> None:
    """Last: the others look at the call while it lasts."""
    with call.page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        call.page.click("#call-end")
    assert deleted.value.ok
    expect(call.page.locator("#call-start")).to_be_visible()
    assert call.complaints == []
