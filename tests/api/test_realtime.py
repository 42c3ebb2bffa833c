"""`WS /v1/realtime` by the official client, unmodified; every event is one of OpenAI's."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gateway.contract import g711
from tests.api.call_gateway import HERTZ, call_gateway
from tests.api.realtime_caller import RATE, encoded, realtime
from tests.calls.scene import Talker
from tests.sounds import pitch, tone

pytestmark = pytest.mark.wire

VOICE = tone(300, 0.6, RATE)
QUIET = np.zeros(round(0.8 * RATE), np.int16)
ANSWER = "response.output_audio.delta"


async def test_a_spoken_turn_of_a_cascade() -> None:
    async with call_gateway(["hello there"], ["Hi, how are you?"]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            first = await caller.next()
            assert (first["type"], first["session"]["model"]) == ("session.created", "agent")
            await caller.append(np.concatenate([VOICE, QUIET]), pause=0.05)
            await caller.until("response.done")
            heard = await caller.until_transcribed()
            assert heard["transcript"] == "hello there"
            assert heard["usage"]["type"] == "duration"
            assert not [kind for kind in caller.types if kind.startswith("output_audio_buffer")]
            assert caller.in_order(
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "response.created",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_audio_transcript.delta",
                ANSWER,
                "response.output_audio.done",
                "response.output_audio_transcript.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.done",
            )
            sung = np.frombuffer(caller.audio(), np.int16)
            assert abs(pitch(sung[RATE // 10 : RATE // 2], RATE) - HERTZ) < 3
            said = "".join(event["delta"] for event in caller.of("response.output_audio_transcript.delta"))
            assert said == "Hi, how are you?"


async def test_a_spoken_turn_of_a_speech_to_speech_model() -> None:
    async with call_gateway(s2s=Talker(["hello"], ["Hi."])) as gateway:
        async with realtime(gateway.url, model="omni") as caller:
            await caller.append(np.concatenate([VOICE, QUIET]), pause=0.05)
            done = await caller.until("response.done")
            assert done["response"]["output"][0]["content"][0]["transcript"] == "Hi."
            assert len(caller.audio()) > RATE // 4
            assert gateway.talker.open == 1
        await until(lambda: gateway.streams == 0 and len(gateway.registry) == 0)


async def test_a_turn_in_text() -> None:
    async with call_gateway(llm=["Four."]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            connection = caller.connection
            await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Two and two?"}]}
            await connection.conversation.item.create(item=said)  # type: ignore[arg-type]  # a TypedDict of theirs
            await connection.response.create()
            done = await caller.until("response.done")
            assert done["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Four."}]
            assert not caller.of(ANSWER)


async def test_a_client_that_commits_its_turns_is_heard_whole_however_fast_it_sends() -> None:
    async with call_gateway(["first", "second"], ["One.", "Two."]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            await caller.send(
                type="session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            )
            for number, seconds in enumerate((2.0, 0.5)):
                faint = (tone(300, seconds, RATE) / 50).astype(np.int16)  # no VAD would take it for speech
                await caller.append(faint)
                await caller.send(type="input_audio_buffer.commit")
                await caller.until("input_audio_buffer.committed")
                await caller.send(type="response.create")
                await caller.until("response.done")
                assert abs(gateway.ear.heard[number] - seconds) < 0.021
            await caller.send(type="input_audio_buffer.commit")
            assert (await caller.until("error"))["error"]["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
async def test_telephone_audio_both_ways(law: g711.Law) -> None:
    form = {"type": "audio/pcmu" if law == "ulaw" else "audio/pcma"}
    async with call_gateway(["hello"], ["Hello there."]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            audio = {"input": {"format": form, "turn_detection": None}, "output": {"format": form}}
            await caller.send(type="session.update", session={"type": "realtime", "audio": audio})
            spoken = g711.encode(tone(300, 1.0, g711.RATE).astype(np.int16).tobytes(), law)
            await caller.send(type="input_audio_buffer.append", audio=encoded(spoken))
            await caller.send(type="input_audio_buffer.commit")
            await caller.send(type="response.create")
            await caller.until("response.done")
            assert abs(gateway.ear.heard[0] - 1.0) < 0.021
            sung = np.frombuffer(g711.decode(caller.audio(), law), np.int16)
            assert abs(len(sung) / g711.RATE - 0.06 * len("Hello there. ")) < 0.02
            assert abs(pitch(sung[800:4800], g711.RATE) - HERTZ) < 3


async def test_what_the_client_says_it_played_is_what_the_history_keeps() -> None:
    said = "One two three four five six seven eight nine ten, and so on until the end of it all."
    async with call_gateway(["hello", "stop"], [said]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            await caller.append(np.concatenate([VOICE, QUIET]), pause=0.02)
            done = await caller.until("response.done")
            item = done["response"]["output"][0]["id"]
            await caller.send(type="conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1000)
            told = await caller.until("conversation.item.truncated")
            assert (told["item_id"], told["audio_end_ms"]) == (item, 1000)
            await caller.send(type="conversation.item.retrieve", item_id=item)
            kept = (await caller.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
            assert said.startswith(kept)
            assert 5 <= len(kept) < 30
            state = gateway.registry.get(next(iter(gateway.registry._calls)))
            assert state is not None
            assert state.line.playout.idle  # nobody goes on listening to what was stopped


async def test_speech_over_an_answer_cancels_it_and_the_truncation_is_the_clients_to_tell() -> None:
    said = "This answer is long enough to be talked over while it is still being made and played. " * 12
    async with call_gateway(["hello", "stop"], [said, "Yes?"]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            await caller.append(np.concatenate([VOICE, QUIET]), pause=0.02)
            await caller.until(ANSWER)
            await caller.append(np.concatenate([VOICE, QUIET]), pause=0.02)
            done = await caller.until("response.done")
            assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
            assert not caller.of("conversation.item.truncated")
            item = done["response"]["output"][0]["id"]
            await caller.send(type="conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=600)
            assert (await caller.until("conversation.item.truncated"))["audio_end_ms"] == 600


async def until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(5.0):
        while not holds():  # noqa: ASYNC110  what is asked has no event
            await asyncio.sleep(0.01)
