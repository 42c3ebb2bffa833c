"""Recorded sessions of OpenAI's realtime, through the whole gateway: a client that sends what theirs sent, and a provider that says what
theirs said. The client is told what it was told then."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.access.stage import ROUTES, bearer, guarded
from tests.calls.scene import validated
from tests.conformance.replaying import Json, Line, Replay, recorded

pytestmark = [pytest.mark.wire, pytest.mark.needs("shared")]
RECORDED = [
    "openai_audio_in_server_vad",
    "openai_history_seeding",
    "openai_text_in_audio_out",
    "openai_tool_call_round",
    "openai_realtime2_tool_round",
    "azure_transcription_deployment_missing",
]
WAITED_FOR = ("session.created", "session.updated", "response.function_call_arguments.done", "response.done")
"""What the client waits for as often as theirs had it, before it sends the next frame."""
PIECE = 4800
"""Bytes of 100 ms."""
OURS_ALONE = ("rate_limits.updated",)
HEARD = "conversation.item.input_audio_transcription."
OMNI = """
  talk: {{kind: s2s, targets: [openai/gpt-realtime]}}
  omni: {{kind: call, start: omni, cascaded: {{stt: listen, llm: chat, tts: say}}, omni: {{s2s: talk}}, apology: ""}}
providers:
  openai: {{base_url: "{url}", key: key-0123456789, options: {{listener: gpt-realtime-whisper}}}}
"""


def kind(frame: Json) -> str:
    return str(frame["type"])


class Client:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.told: list[Json] = []

    def count(self, *kinds: str) -> int:
        return sum(kind(each) in kinds for each in self.told)

    async def until(self, counts: Counter[str]) -> None:
        while any(self.count(each) < counts[each] for each in counts):
            frame = await self._socket.recv()
            assert isinstance(frame, str)
            self.told.append(validated(frame))

    async def replay(self, lines: list[Line]) -> None:
        """Everything they sent; what they were told is waited for."""
        had: Counter[str] = Counter()
        for line in lines:
            if line.sent:
                await self.until(had)
                await self._socket.send(orjson.dumps(line.data).decode())
            elif kind(line.data) in WAITED_FOR:
                had[kind(line.data)] += 1
        for each in (f"{HEARD}completed", f"{HEARD}failed"):
            had[each] += sum(kind(line.data) == each for line in lines)
        await self.until(had)


def waiting(lines: list[Line]) -> list[Line]:
    """Two things of the recordings are not as they were said: sound, of which they hold the beginnings, is as long as its pieces were;
    and a function's result comes after the answer that called it, since we tell of a call when its answer is over."""
    held: list[Line] = []
    out: list[Line] = []
    for line in lines:
        if line.sent and kind(line.data) == "input_audio_buffer.append":
            sound = base64.b64decode(line.data["audio"])[:PIECE].ljust(PIECE, b"\0")
            line = Line(True, {**line.data, "audio": base64.b64encode(sound).decode()})
        if line.sent and line.data.get("item", {}).get("type") == "function_call_output":
            held.append(line)
            continue
        if line.sent and held:
            out += held
            held.clear()
        out.append(line)
    return out


async def through(name: str, folder: Path) -> tuple[list[Json], list[Json]]:
    """What our client was told, and theirs."""
    lines = waiting(recorded(name))
    replay = Replay(lines, kind)
    async with replay.running() as url, asyncio.timeout(20):
        written = ROUTES + OMNI.format(url=url.replace("ws", "http", 1))
        async with guarded(folder, written=written) as gateway:
            address = f"{gateway.url.replace('http', 'ws', 1)}/v1/realtime?model=omni"
            async with connect(address, additional_headers=bearer(gateway.key)) as socket:
                client = Client(socket)
                await client.replay(lines)
    return client.told, [line.data for line in lines if not line.sent]


def steps(events: list[Json]) -> list[str]:
    """What happened, in order: without the pieces, and without what is heard, which comes when it comes."""
    kinds = (kind(each) for each in events)
    return [each for each in kinds if not each.endswith(".delta") and not each.startswith((HEARD, *OURS_ALONE))]


def words(events: list[Json], *kinds: str) -> str:
    return "".join(each["delta"] for each in events if kind(each) in kinds)


def by_item(events: list[Json]) -> list[list[str]]:
    """The same for each item by itself, in the order in which they came up."""
    found: dict[str, list[str]] = {}
    for each in events:
        item = each.get("item_id") or each.get("item", {}).get("id")
        if item is not None:
            found.setdefault(item, []).append(kind(each))
    return [steps([{"type": each} for each in kinds]) for kinds in found.values()]


def fields(events: list[Json]) -> dict[str, set[str]]:
    """Of the first event of each kind, but for what is there to be ignored, and what Azure alone adds."""
    first: dict[str, set[str]] = {}
    for each in events:
        first.setdefault(kind(each), set(each) - {"obfuscation", "content"})
    return {name: known for name, known in first.items() if not name.startswith((HEARD, *OURS_ALONE))}


def sound(events: list[Json]) -> bytes:
    """The recordings hold the beginning of each piece of sound; the last may end within a sample."""
    pcm = b"".join(base64.b64decode(each["delta"]) for each in events if kind(each) == "response.output_audio.delta")
    return pcm[: len(pcm) // 2 * 2]


@pytest.mark.parametrize("name", RECORDED)
async def test_the_client_is_told_what_theirs_was(name: str, tmp_path: Path) -> None:
    ours, theirs = await through(name, tmp_path)
    if name == "openai_realtime2_tool_round":  # words and a call in one answer: we end the call first
        assert sorted(steps(ours)) == sorted(steps(theirs))
    else:
        assert steps(ours) == steps(theirs)
    assert by_item(ours) == by_item(theirs)
    assert fields(ours) == fields(theirs)
    said = (
        "response.output_text.delta",
        "response.output_audio_transcript.delta",
        "response.function_call_arguments.delta",
    )
    for each in (*said, f"{HEARD}delta"):
        assert words(ours, each).strip() == words(theirs, each).strip()
    assert sound(theirs).endswith(
        sound(ours)
    )  # but for an answer's leading silence, which would only make the caller wait
    lead = np.frombuffer(sound(theirs)[: len(sound(theirs)) - len(sound(ours))], np.int16)
    assert not (abs(lead) > 100).any()
    assert [each["transcript"] for each in ours if kind(each) == f"{HEARD}completed"] == [
        each["transcript"] for each in theirs if kind(each) == f"{HEARD}completed"
    ]
    assert [kind(each) for each in ours if kind(each) == f"{HEARD}failed"] == [
        kind(each) for each in theirs if kind(each) == f"{HEARD}failed"
    ]
    assert [each["response"]["status"] for each in ours if kind(each) == "response.done"] == [
        each["response"]["status"] for each in theirs if kind(each) == "response.done"
    ]
