"""A call from a real Chromium that may only use a relay: the real coturn, with what the gateway told the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from tests.browser.chromium import FLAGS
from tests.coturn import coturn
from tests.gateway_process import gateway_process

pytestmark = [pytest.mark.wire, pytest.mark.browser, pytest.mark.needs("turnserver")]
SECRET = "shared-with-coturn-0123456789"
ROUTES = """\
media: {{relays: {{urls: ["turn:127.0.0.1:{port}?transport={transport}"], secret: {secret}}}}}
routes:
  chat: {{kind: llm, targets: [fake/ok]}}
  say: {{kind: tts, targets: [fake/ok]}}
  listen: {{kind: stt, targets: [fake/ok]}}
  agent: {{kind: call, cascaded: {{stt: listen, llm: chat, tts: say}}, greeting: "Hello there."}}
"""
CALL = """async () => {
  const { ice_servers } = await (await fetch("/v1/realtime/ice_servers")).json();
  const pc = new RTCPeerConnection({ iceServers: ice_servers, iceTransportPolicy: "relay" });
  const context = new AudioContext();
  pc.addTrack(context.createMediaStreamDestination().stream.getAudioTracks()[0]);
  const told = new Promise((done) => {
    pc.createDataChannel("oai-events").addEventListener("message", ({ data }) => {
      if (JSON.parse(data).type === "output_audio_buffer.stopped") done();
    });
  });
  await pc.setLocalDescription(await pc.createOffer());
  while (pc.iceGatheringState !== "complete") await new Promise((done) => { pc.onicegatheringstatechange = done; });
  const answer = await fetch("/v1/realtime/calls?model=agent", {
    method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp,
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  await told;
  const stats = [...(await pc.getStats()).values()];
  const pair = stats.find((each) => each.type === "candidate-pair" && each.nominated);
  const local = stats.find((each) => each.id === pair.localCandidateId);
  const inbound = stats.find((each) => each.type === "inbound-rtp");
  pc.close();
  return { kind: local.candidateType, by: local.relayProtocol, received: inbound.packetsReceived };
}"""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_greeting_is_heard_through_the_relay(transport: str, tmp_path: Path, browser: Path) -> None:
    async with coturn(SECRET) as port:
        routes = tmp_path / "routes.yaml"
        routes.write_text(ROUTES.format(port=port, transport=transport, secret=SECRET))
        async with gateway_process(routes) as gateway, async_playwright() as driver:
            chrome = await driver.chromium.launch(
                executable_path=browser, args=[*FLAGS, "--autoplay-policy=no-user-gesture-required"]
            )
            try:
                page = await chrome.new_page()
                await page.goto(gateway.url)
                told: dict[str, Any] = await page.evaluate(CALL)
            finally:
                await chrome.close()
    assert (told["kind"], told["by"]) == ("relay", transport)
    assert told["received"] > 10
