"""@openai/agents-realtime over WebRTC, in a real Chromium, on a page of another origin: a spoken turn, a tool, an interruption.

The page gets a client secret from its own server's side (here: the test), as the browser must not have a key.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, async_playwright

from tests.browser.chromium import FLAGS
from tests.e2e.test_realtime_clients import served
from tests.needs import CLIENTS

pytestmark = [pytest.mark.wire, pytest.mark.browser, pytest.mark.needs("node")]
BUNDLE = CLIENTS / "node_modules" / "@openai" / "agents-realtime" / "dist" / "bundle" / "openai-realtime-agents.umd.js"
CONVERSE = """async ({ url, secret, wav }) => {
  const { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebRTC, tool } = OpenAIAgentsRealtime;
  let called = 0;
  const weather = tool({
    name: "get_weather",
    description: "The weather.",
    parameters: { type: "object", properties: {}, required: [], additionalProperties: false },
    strict: false,
    execute: async () => {
      called += 1;
      return "It rains in Pune, and it will go on raining for a good while yet, as it does at this time of the year.";
    },
  });
  const context = new AudioContext();
  const microphone = context.createMediaStreamDestination();
  const speech = await context.decodeAudioData(Uint8Array.from(atob(wav), (c) => c.charCodeAt(0)).buffer);
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const speak = () => new Promise((done) => {
    const source = context.createBufferSource();
    source.buffer = speech;
    source.connect(microphone);
    source.onended = done;
    source.start();
  });
  const audioElement = new Audio();
  audioElement.autoplay = true;
  const transport = new OpenAIRealtimeWebRTC({ mediaStream: microphone.stream, audioElement });
  const agent = new RealtimeAgent({ name: "assistant", instructions: "Be brief.", tools: [weather] });
  const session = new RealtimeSession(agent, { transport });
  const events = {}, errors = [];
  const counted = (kind) => events[kind] ?? 0;
  session.transport.on("*", (event) => { events[event.type] = counted(event.type) + 1; });
  session.on("audio_interrupted", () => { events.interrupted = counted("interrupted") + 1; });
  session.on("error", (event) => errors.push(JSON.stringify(event.error ?? event)));
  const until = async (what, met) => {
    for (let left = 1000; !met(); left--) {
      if (errors.length) throw new Error(errors[0]);
      if (!left) throw new Error(`timeout: ${what} ${JSON.stringify(events)}`);
      await pause(20);
    }
  };
  await session.connect({ apiKey: secret, url: `${url}/v1/realtime/calls` });
  await pause(1000);
  await speak();
  await until("an answer", () => counted("output_audio_buffer.stopped") >= 1);
  session.sendMessage("And what is the weather?");
  await until("the tool's", () => called >= 1 && counted("output_audio_buffer.stopped") >= 2);
  const started = counted("output_audio_buffer.started");
  session.sendMessage("And the weather tomorrow, what will it be?");
  await until("another", () => counted("output_audio_buffer.started") > started);
  await pause(1000);
  await speak();
  await until("an interruption", () => counted("input_audio_buffer.speech_started") >= 2 && counted("output_audio_buffer.cleared") >= 1);
  await until("one more", () => counted("input_audio_buffer.committed") >= 2 && counted("response.done") >= 6);
  const history = session.history
    .filter((item) => item.type === "message")
    .map((item) => [item.role, item.content.map((part) => part.transcript ?? part.text ?? "").join(" ")]);
  const heard = (await transport.connectionState.peerConnection.getStats());
  let received = 0;
  heard.forEach((each) => { if (each.type === "inbound-rtp") received += each.packetsReceived; });
  session.close();
  return { called, errors, events, history, received };
}"""


@asynccontextmanager
async def another_site() -> AsyncIterator[str]:
    """An empty page of another origin, on this machine as well: browsers do not let those of others reach it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def converse(page: Page, site: str, url: str, secret: str, wav: bytes) -> dict[str, Any]:
    await page.goto(site)
    await page.add_script_tag(path=BUNDLE)
    asked = {"url": url, "secret": secret, "wav": base64.b64encode(wav).decode()}
    told: dict[str, Any] = await page.evaluate(CONVERSE, asked)
    return told


async def test_omni_in_a_browser(tmp_path: Path, browser: Path) -> None:
    async with served(tmp_path) as gateway, another_site() as site, async_playwright() as driver:
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            asked = {"session": {"type": "realtime", "model": "omni"}}
            secret = (await http.post("/v1/realtime/client_secrets", json=asked)).json()["value"]
        chrome = await driver.chromium.launch(
            executable_path=browser, args=[*FLAGS, "--autoplay-policy=no-user-gesture-required"]
        )
        try:
            wav = (tmp_path / "speech.wav").read_bytes()
            told = await converse(await chrome.new_page(), site, gateway.url, secret, wav)
        finally:
            await chrome.close()
    assert told["errors"] == []
    assert told["called"] >= 2
    said = [(role, " ".join(text.split())) for role, text in told["history"]]
    assert said[1][1].startswith("You said:"), said
    assert "It rains in Pune" in said[3][1], said
    assert told["received"] > 200
