"""A real Chromium calls a gateway on 127.0.0.1."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from playwright.async_api import async_playwright

from gateway.media.reach import Media, interfaces
from gateway.transports.webrtc import WebRtc, WebRtcTransport
from tests.serving import serving

pytestmark = [pytest.mark.browser, pytest.mark.wire]

FLAGS = ("--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
# Everyone's browser leaves loopback out, and checks our loopback address from the addresses it has. The flag takes it in.
WAYS = ((), ("--allow-loopback-in-peer-connection",)) if interfaces() else (("--allow-loopback-in-peer-connection",),)
PAGE = """<!doctype html><script>
async function call() {
    const pc = window.pc = new RTCPeerConnection();
    const mic = await navigator.mediaDevices.getUserMedia({audio: true});
    for (const track of mic.getTracks()) pc.addTrack(track, mic);
    const channel = pc.createDataChannel("oai-events");
    const said = new Promise((resolve) => channel.addEventListener("message", ({data}) => resolve(data)));
    channel.addEventListener("open", () => channel.send("hello"));
    await pc.setLocalDescription(await pc.createOffer());
    await new Promise((resolve) => {
        pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve());
        setTimeout(resolve, 1000);
    });
    const answer = await fetch("/offer", {method: "POST", body: pc.localDescription.sdp});
    await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
    return said;
}
</script>"""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "loopback too" if way else "as everyone has it")
async def test_a_page_on_this_machine_can_call(browser: Path, way: tuple[str, ...]) -> None:
    webrtc, app = WebRtc(Media(), "127.0.0.1"), FastAPI()
    transports: list[WebRtcTransport] = []

    @app.get("/")
    async def page() -> Response:
        return Response(PAGE, media_type="text/html")

    @app.post("/offer")
    async def offer(request: Request) -> Response:
        transport, answer = await webrtc.answer((await request.body()).decode())
        transports.append(transport)
        transport.send("oai-events", "hello yourself")
        return Response(answer)

    async with serving(app) as server, async_playwright() as driver:
        chrome = await driver.chromium.launch(executable_path=browser, args=[*FLAGS, *way])
        opened = await chrome.new_page()
        await opened.goto(server.url)
        async with asyncio.timeout(15):
            assert await opened.evaluate("call()") == "hello yourself"
            (transport,) = transports
            assert (await anext(transport.inbox.reader())).text == "hello"
            await anext(transport.mic.reader())
            await opened.evaluate("pc.close()")
            assert await transport.wait_closed() == "hung up"
        await chrome.close()
    await webrtc.aclose()
