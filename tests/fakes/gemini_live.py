"""Gemini Live (`BidiGenerateContent`): what recordings of it show, and google-genai's types.

It says what it was told: `You said: <the caller's words>`. Where the session has tools and the caller speaks of the weather, it
calls the first of them with {"city": "London"} and, once it has the result, says what the tool did. JSON comes in binary frames.
Setup, transcripts as deltas, a thought before the answer, `generationComplete`, `turnComplete` with the usage and the tool round
are as recorded; `interrupted`, `goAway`, `sessionResumptionUpdate` and the reasons of closes rest on the SDK and the documentation.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal
from tests.fakes.hearing import Hearing
from tests.fakes.speaking import spoken

HEARS, SPEAKS = 16_000, 24_000
SILENCE = 0.5
PIECE = 9600
_ALIASES = {"realtimeInput": "realtime_input", "clientContent": "client_content", "toolResponse": "tool_response"}
_CLOSES = {
    "unauthorized": (1008, "API key not valid. Please pass a valid API key."),
    "no-quota": (1011, "You exceeded your current quota, please check your plan and billing details."),
    "rate-limited": (1011, "Resource has been exhausted (e.g. check quota)."),
    "server-error": (1011, "Internal error encountered."),
    "unknown-model": (1008, "models/none is not found for API version v1beta"),
    "refuses": (1007, "Request contains an invalid argument."),
}


@dataclass
class Talk:
    """One session, over one socket or several: `history`, roles and words."""

    setup: dict[str, Any]
    history: list[tuple[str, str]] = field(default_factory=list)
    hearing: Hearing = field(default_factory=lambda: Hearing(HEARS))
    said: list[str] = field(default_factory=list)
    in_speech: bool = False
    active: bool = False
    answer: asyncio.Task[None] | None = None
    calling: str | None = None


class GeminiTalks(Fake):
    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.talks: dict[str, Talk] = {}
        self.resumes = True
        """Whether it hands out handles to go on with a session."""
        self.warns = asyncio.Event()
        """Set: sessions are told that they will be dropped, once their next turn is over."""

    @property
    def talk_now(self) -> Talk:
        return list(self.talks.values())[-1]

    def refuse(self, request: Any) -> Any:
        if self.behaviour.trouble == "http-429":
            error = {"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}}
            return refusal(429, orjson.dumps(error))
        return None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        frames = self.heard(connection, session)
        first = orjson.loads(await anext(frames))
        key = session.headers.get("x-goog-api-key") or session.query.get("key", "")
        await self._refused(connection, behaviour, key, first)
        talk = self._opened(first["setup"])
        await self.say(connection, {"setupComplete": {}})
        await self._hand_out(connection, talk)
        if behaviour.trouble == "drops":
            await connection.close(1001)
            raise Dropped
        try:
            async for frame in frames:
                if behaviour.trouble == "silent":
                    continue
                await self._take(connection, talk, behaviour, orjson.loads(frame))
        finally:
            if talk.answer is not None:
                talk.answer.cancel()
                await asyncio.wait([talk.answer])

    async def _refused(
        self, connection: ServerConnection, behaviour: Behaviour, key: str, first: dict[str, Any]
    ) -> None:
        trouble = "unauthorized" if key in ("", "wrong") else behaviour.trouble
        if "setup" not in first:
            trouble = "refuses"
        if trouble == "hangs-up-first":
            raise Dropped
        if trouble == "garbage":
            await connection.send(b"\x00not json")
        if trouble == "echoes-key":
            await connection.close(1007, f"Request contains an invalid argument: {key}")
            raise Dropped
        if trouble in _CLOSES:
            await connection.close(*_CLOSES[trouble])
            raise Dropped

    def _opened(self, setup: dict[str, Any]) -> Talk:
        handle = setup.get("sessionResumption", {}).get("handle")
        before = self.talks.get(handle) if handle else None
        talk = Talk(setup, list(before.history) if before is not None else [])
        if before is None:
            self.talks[f"first-{secrets.token_hex(4)}"] = talk
        else:
            self.talks[str(handle)] = talk
        return talk

    async def _hand_out(self, connection: ServerConnection, talk: Talk) -> None:
        if self.resumes and "sessionResumption" in talk.setup:
            handle = secrets.token_hex(8)
            self.talks = {name: each for name, each in self.talks.items() if each is not talk} | {handle: talk}
            await self.say(connection, {"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})

    async def say(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        await connection.send(orjson.dumps(message))

    async def content(self, connection: ServerConnection, **fields: Any) -> None:
        await self.say(connection, {"serverContent": fields})

    # what the client says

    async def _take(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, said: dict[str, Any]) -> None:
        [(name, told)] = said.items()
        match _ALIASES.get(name, name):
            case "realtime_input" if "audio" in told:
                audio = told["audio"]
                assert audio.get("mimeType", audio.get("mime_type")) == f"audio/pcm;rate={HEARS}"
                pcm = base64.urlsafe_b64decode(audio["data"].replace("+", "-").replace("/", "_"))
                await self._hear(connection, talk, behaviour, pcm)
            case "realtime_input" if "activityStart" in told:
                talk.active = True
                await self._interrupt(connection, talk)
            case "realtime_input" if "activityEnd" in told:
                talk.active = False
                await self._turn(connection, talk, behaviour)
            case "client_content":
                await self._interrupt(connection, talk)
                for turn in told.get("turns", []):
                    words = " ".join(part["text"] for part in turn["parts"])
                    talk.history.append((turn.get("role", "user"), words))
                if told.get("turnComplete"):
                    self._answer(connection, talk, behaviour)
            case "tool_response":
                [result] = told["functionResponses"]
                assert result["id"] == talk.calling
                talk.history.append(("tool", str(result["response"]["output"])))
                talk.calling = None
                self._answer(connection, talk, behaviour)
            case _:
                await connection.close(1007, f'Invalid JSON payload received. Unknown name "{name}"')
                raise Dropped

    # what it hears

    async def _hear(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, pcm: bytes) -> None:
        talk.said += [word.text for word in talk.hearing.hear(pcm)]
        detection = talk.setup.get("realtimeInputConfig", {}).get("automaticActivityDetection", {})
        if detection.get("disabled"):
            return
        if talk.hearing.speaking and not talk.in_speech:
            talk.in_speech = True
            if talk.setup.get("realtimeInputConfig", {}).get("activityHandling") != "NO_INTERRUPTION":
                await self._interrupt(connection, talk)
        elif talk.in_speech and talk.hearing.quiet >= detection.get("silenceDurationMs", SILENCE * 1000) / 1000:
            talk.in_speech = False
            await self._turn(connection, talk, behaviour)

    async def _turn(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour) -> None:
        words = " ".join(talk.said + [word.text for word in talk.hearing.rest()])
        talk.said = []
        talk.history.append(("user", words))
        if "inputAudioTranscription" in talk.setup:
            for word in words.split():
                await self.content(connection, inputTranscription={"text": f" {word}"})
        self._answer(connection, talk, behaviour)

    async def _interrupt(self, connection: ServerConnection, talk: Talk) -> None:
        if talk.answer is None or talk.answer.done():
            return
        talk.answer.cancel()
        await asyncio.wait([talk.answer])
        await self.content(connection, interrupted=True)
        await self.say(connection, {"serverContent": {"turnComplete": True}, "usageMetadata": _USAGE})

    # what it answers

    def _answer(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour) -> None:
        async def answer() -> None:
            with suppress(ConnectionClosed):
                await self._speak(connection, talk, behaviour)

        talk.answer = asyncio.create_task(answer())

    async def _speak(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour) -> None:
        await asyncio.sleep(behaviour.latency)
        role, last = talk.history[-1] if talk.history else ("user", "")
        tools = talk.setup.get("tools")
        if tools and role == "user" and "weather" in last.lower():
            talk.calling = f"function-call-{secrets.randbits(60)}"
            call = {"name": tools[0]["functionDeclarations"][0]["name"], "args": {"city": "London"}, "id": talk.calling}
            return await self.say(connection, {"toolCall": {"functionCalls": [call]}})
        words = f"The tool says: {last}" if role == "tool" else f"You said: {last}"
        if behaviour.trouble == "endless":
            words = "on and " * 10_000
        thought = {"text": "**Acknowledge**\n\nI think about it.", "thought": True}
        await self.content(connection, modelTurn={"parts": [thought]})
        await self._say_aloud(connection, talk, behaviour, words)
        await self.content(connection, generationComplete=True)
        await self.say(connection, {"serverContent": {"turnComplete": True}, "usageMetadata": _USAGE})
        if self.warns.is_set():
            self.warns.clear()
            await self.say(connection, {"goAway": {"timeLeft": "50s"}})

    async def _say_aloud(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, words: str) -> None:
        aloud = talk.setup["generationConfig"]["responseModalities"] == ["AUDIO"]
        told: list[str] = []
        seconds = 0.0
        try:
            for number, (word, pcm) in enumerate(spoken(words, SPEAKS)):
                if behaviour.drop_after is not None and seconds >= behaviour.drop_after:
                    connection.transport.abort()
                    return
                if behaviour.stall_after is not None and seconds >= behaviour.stall_after:
                    await asyncio.get_running_loop().create_future()
                told.append(word.text)
                text = f" {word.text}" if number else word.text
                if not aloud:
                    await self.content(connection, modelTurn={"parts": [{"text": text}]})
                    seconds += 0.1
                    continue
                if "outputAudioTranscription" in talk.setup:
                    await self.content(connection, outputTranscription={"text": text})
                for at in range(0, len(pcm), PIECE):
                    data = base64.urlsafe_b64encode(pcm[at : at + PIECE]).decode()
                    sound = {"inlineData": {"mimeType": f"audio/pcm;rate={SPEAKS}", "data": data}}
                    await self.content(connection, modelTurn={"parts": [sound]})
                    seconds += len(pcm[at : at + PIECE]) / 2 / SPEAKS
                await asyncio.sleep(0)
        finally:
            talk.history.append(("model", " ".join(told)))


_USAGE = {
    "promptTokenCount": 1197,
    "responseTokenCount": 37,
    "totalTokenCount": 1234,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1196}, {"modality": "AUDIO", "tokenCount": 1}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 37}],
    "thoughtsTokenCount": 28,
}


if __name__ == "__main__":
    main(GeminiTalks)
