"""OpenAI's Realtime protocol for speech to speech (`/v1/realtime?model=`): what recordings of it show, and its SDK's types.

It says what it was told: `You said: <the caller's words>`. Where the session has tools and the caller speaks of the weather, it
calls the first of them with {"city": "London"} and then says what the tool did. Orders of events, errors and closes are those
of the recordings and of the notes beside them; what no recording shows (truncation's and the buffer's errors) rests on the SDK
and on those notes. Audio comes as fast as it is taken, as the service has it.
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

from tests.fakes.base import Behaviour, Dropped, Session, main, stalled, text
from tests.fakes.hearing import Hearing
from tests.fakes.openai_audio import OpenAIRealtime
from tests.fakes.speaking import spoken

RATE = 24_000
PREFIX, SILENCE = 0.3, 0.5
LIFETIME = 3600
PIECE = 4800
"""Bytes of one delta."""
_TOP = {
    "type", "model", "output_modalities", "instructions", "tools", "tool_choice", "max_output_tokens", "tracing",
    "truncation", "prompt", "audio", "include", "reasoning", "parallel_tool_calls",
}  # fmt: skip
_EVENTS = {
    "session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear",
    "conversation.item.create", "conversation.item.retrieve", "conversation.item.delete", "conversation.item.truncate",
    "response.create", "response.cancel", "output_audio_buffer.clear",
}  # fmt: skip


class Wrong(Exception):
    """An event of the client's that is answered by an error, and the session goes on."""

    def __init__(self, code: str, param: str | None = None) -> None:
        super().__init__(code)
        self.code, self.param = code, param


def new(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


@dataclass
class Item:
    """`seconds`: of its sound, as far as it was sent."""

    json: dict[str, Any]
    seconds: float = 0.0

    @property
    def words(self) -> str:
        parts = self.json.get("content", [])
        return " ".join(filter(None, (part.get("text") or part.get("transcript") for part in parts)))


@dataclass
class Talk:
    """One session's state."""

    session: dict[str, Any]
    items: list[Item] = field(default_factory=list)
    hearing: Hearing = field(default_factory=lambda: Hearing(RATE))
    buffered: float = 0.0
    said: list[str] = field(default_factory=list)
    next_item: str = field(default_factory=lambda: new("item"))
    in_speech: bool = False
    response: asyncio.Task[None] | None = None
    why: str = "client_cancelled"
    spoke: bool = False
    events: int = 0


class OpenAITalks(OpenAIRealtime):
    """Its `talks` are the sessions' conversations, as roles and words."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.talks: list[Talk] = []
        self.deaf = False
        """Whether it writes down nothing of what is said (Azure, where the deployment for it is missing)."""

    def history(self, talk: int = -1) -> list[tuple[str, str]]:
        return [(each.json.get("role", each.json["type"]), each.words) for each in self.talks[talk].items]

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        talk = Talk(self.session_object(session.query.get("model", "")))
        self.talks.append(talk)
        await self.first(connection, session, behaviour, talk)
        try:
            async for frame in self.heard(connection, session):
                if behaviour.trouble == "silent":
                    await stalled(connection)
                await self._take(connection, talk, behaviour, frame)
        finally:
            if talk.response is not None:
                talk.response.cancel()
                await asyncio.wait([talk.response])

    async def first(self, connection: ServerConnection, session: Session, behaviour: Behaviour, talk: Talk) -> None:
        match behaviour.trouble:
            case "rate-limited":
                await self._fail(connection, "rate_limit_exceeded", None, "rate_limit_error")
            case "echoes-key":
                key = session.headers["authorization"]
                fault = {"type": "invalid_request_error", "code": key, "message": f"no {key}", "param": None}
                await connection.send(text({"type": "error", "event_id": new("event"), "error": fault}))
                await connection.close(4000, f"invalid_request_error.{key.removeprefix('Bearer ')}")
                raise Dropped
            case "refuses":
                await self._fail(connection, "invalid_value", "session")
            case None | "silent" | "endless" | "fails":
                pass
        await self._refused(connection, session, behaviour)
        await self.say(connection, talk, "session.created", session=talk.session)

    async def _refused(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        """What goes wrong as of every session of OpenAI's."""
        if not session.query.get("model"):
            await self._fail(connection, "missing_model", None)
        key = session.headers.get("authorization", "").removeprefix("Bearer ") or session.headers.get("api-key", "")
        trouble = "unauthorized" if key in ("", "wrong") else behaviour.trouble
        if trouble == "unauthorized":
            await self._error(connection, "invalid_api_key")
            await connection.close(3000, "invalid_request_error.invalid_api_key")
            raise Dropped
        faults = {
            "unknown-model": ("invalid_model", ""),
            "no-quota": ("insufficient_quota", "insufficient_quota"),
            "server-error": ("server_error", "server_error"),
        }
        if trouble in faults:
            code, kind = faults[trouble]
            await self._fail(connection, code, None, kind)
        if trouble == "hangs-up-first":
            raise Dropped
        if trouble == "garbage":
            await connection.send("{not json")

    def session_object(self, model: str) -> dict[str, Any]:
        format = {"type": "audio/pcm", "rate": RATE}
        turns = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
        turns |= {"idle_timeout_ms": None, "create_response": True, "interrupt_response": True}
        return {
            "type": "realtime", "object": "realtime.session", "id": new("sess"), "model": model,
            "output_modalities": ["audio"], "instructions": "", "tools": [], "tool_choice": "auto",
            "max_output_tokens": "inf", "tracing": None, "truncation": "auto", "prompt": None,
            "expires_at": 1785217650, "include": None,
            "audio": {
                "input": {"format": format, "transcription": None, "noise_reduction": None, "turn_detection": turns},
                "output": {"format": format, "voice": "alloy", "speed": 1.0},
            },
        }  # fmt: skip

    async def say(self, connection: ServerConnection, talk: Talk, kind: str, **fields: Any) -> None:
        talk.events += 1
        await connection.send(text({"type": kind, "event_id": f"event_{talk.events:06d}", **fields}))

    # what the client says

    async def _take(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, frame: str | bytes) -> None:
        event_id = None
        try:
            if isinstance(frame, bytes):
                raise Wrong("invalid_event")
            said = orjson.loads(frame)
            event_id = said.get("event_id")
            if said.get("type") not in _EVENTS:
                raise Wrong("invalid_value", "type")
            await self._do(connection, talk, behaviour, said)
        except orjson.JSONDecodeError:
            await self._wrong(connection, talk, Wrong("invalid_json"), None)
        except Wrong as wrong:
            await self._wrong(connection, talk, wrong, event_id)

    async def _wrong(self, connection: ServerConnection, talk: Talk, wrong: Wrong, event_id: str | None) -> None:
        fault = {"type": "invalid_request_error", "code": wrong.code, "message": "It is wrong."}
        await self.say(connection, talk, "error", error={**fault, "param": wrong.param, "event_id": event_id})

    async def _do(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, said: dict[str, Any]) -> None:
        match said["type"]:
            case "session.update":
                self.update(talk, said["session"])
                await self.say(connection, talk, "session.updated", session=talk.session)
            case "input_audio_buffer.append":
                await self._hear(connection, talk, behaviour, base64.b64decode(said["audio"]))
            case "input_audio_buffer.commit":
                if talk.buffered < 0.1:
                    raise Wrong("input_audio_buffer_commit_empty")
                await self._commit(connection, talk)
            case "input_audio_buffer.clear":
                talk.buffered, talk.said, talk.in_speech = 0.0, [], False
                await self.say(connection, talk, "input_audio_buffer.cleared")
            case "conversation.item.create":
                await self._add(connection, talk, said["item"])
            case "conversation.item.truncate":
                await self.truncate(connection, talk, said)
            case "conversation.item.delete":
                talk.items.remove(self._find(talk, said["item_id"]))
                await self.say(connection, talk, "conversation.item.deleted", item_id=said["item_id"])
            case "conversation.item.retrieve":
                item = self._find(talk, said["item_id"]).json
                await self.say(connection, talk, "conversation.item.retrieved", item=item)
            case "response.create":
                if talk.response is not None and not talk.response.done():
                    raise Wrong("conversation_already_has_active_response")
                self._respond(connection, talk, behaviour, said.get("response") or {})
            case "response.cancel":
                if not self._stop(talk, "client_cancelled"):
                    raise Wrong("response_cancel_not_active")
            case _:
                raise Wrong("invalid_value", "type")

    def update(self, talk: Talk, asked: dict[str, Any]) -> None:
        if asked.get("type") != "realtime":
            raise Wrong("missing_required_parameter", "session.type")
        for name in asked.keys() - _TOP:
            raise Wrong("unknown_parameter", f"session.{name}")
        audio, now = asked.get("audio", {}), talk.session["audio"]
        for side in audio:
            format = audio[side].get("format")
            if format is not None and format.get("type") == "audio/pcm" and format.get("rate", RATE) < RATE:
                raise Wrong("integer_below_min_value", f"session.audio.{side}.format.rate")
        if talk.spoke and audio.get("output", {}).get("voice", now["output"]["voice"]) != now["output"]["voice"]:
            raise Wrong("cannot_update_voice", "session.audio.output.voice")
        told = {name: value for name, value in asked.items() if name not in ("audio", "model")}
        talk.session = {**talk.session, **told, "audio": {side: {**now[side], **audio.get(side, {})} for side in now}}
        if (turns := talk.session["audio"]["input"]["turn_detection"]) is not None:
            turns = {"create_response": True, "interrupt_response": True, **turns}
            talk.session["audio"]["input"]["turn_detection"] = turns

    def turns(self, talk: Talk) -> dict[str, Any] | None:
        turns: dict[str, Any] | None = talk.session["audio"]["input"]["turn_detection"]
        return turns

    def transcribes(self, talk: Talk) -> bool:
        return talk.session["audio"]["input"]["transcription"] is not None

    def _find(self, talk: Talk, item_id: str) -> Item:
        found = next((each for each in talk.items if each.json["id"] == item_id), None)
        if found is None:
            raise Wrong("item_not_found", "item_id")
        return found

    async def truncate(self, connection: ServerConnection, talk: Talk, said: dict[str, Any]) -> None:
        item = self._find(talk, said["item_id"])
        end = said["audio_end_ms"]
        if item.json.get("role") != "assistant" or end > item.seconds * 1000 + 1:
            raise Wrong("invalid_value", "audio_end_ms")
        for part in item.json["content"]:
            words = (part.get("transcript") or "").split()
            part["transcript"] = " ".join(words[: round(len(words) * end / 1000 / max(item.seconds, 1e-9))])
        about = {name: said[name] for name in ("item_id", "content_index", "audio_end_ms")}
        await self.say(connection, talk, "conversation.item.truncated", **about)

    # what it hears

    async def _hear(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, pcm: bytes) -> None:
        talk.buffered += len(pcm) / 2 / RATE
        talk.said += [word.text for word in talk.hearing.hear(pcm)]
        turns = self.turns(talk)
        if turns is None:
            return
        now = talk.hearing.seconds
        patience = turns.get("silence_duration_ms", SILENCE * 1000) / 1000
        if talk.hearing.speaking and not talk.in_speech:
            talk.in_speech = True
            start = int(max(0.0, now - PREFIX) * 1000)
            about = {"audio_start_ms": start, "item_id": talk.next_item}
            await self.say(connection, talk, "input_audio_buffer.speech_started", **about)
            if turns["interrupt_response"]:
                self._stop(talk, "turn_detected")
        elif talk.in_speech and talk.hearing.quiet >= patience:
            talk.in_speech = False
            ended = {"audio_end_ms": int(now * 1000), "item_id": talk.next_item}
            await self.say(connection, talk, "input_audio_buffer.speech_stopped", **ended)
            if talk.response is not None:
                await asyncio.wait([talk.response])
            await self._commit(connection, talk)
            if turns["create_response"]:
                self._respond(connection, talk, behaviour, {})

    async def _commit(self, connection: ServerConnection, talk: Talk) -> None:
        words = " ".join(talk.said + [word.text for word in talk.hearing.rest()])
        seconds, talk.buffered, talk.said = talk.buffered, 0.0, []
        item_id, talk.next_item = talk.next_item, new("item")
        previous = talk.items[-1].json["id"] if talk.items else None
        await self.committed(connection, talk, item_id, previous)
        content = [{"type": "input_audio", "transcript": None}]
        item = Item({"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content})
        talk.items.append(item)
        for stage in ("added", "done"):
            about = {"previous_item_id": previous, "item": item.json}
            await self.say(connection, talk, f"conversation.item.{stage}", **about)
        if self.transcribes(talk):
            await self.transcribe(connection, talk, item, words, seconds)
        item.json = {**item.json, "content": [{"type": "input_audio", "transcript": words}]}

    async def committed(self, connection: ServerConnection, talk: Talk, item_id: str, previous: str | None) -> None:
        about = {"previous_item_id": previous, "item_id": item_id}
        await self.say(connection, talk, "input_audio_buffer.committed", **about)

    async def transcribe(
        self, connection: ServerConnection, talk: Talk, item: Item, words: str, seconds: float
    ) -> None:
        kind = "conversation.item.input_audio_transcription"
        about = {"item_id": item.json["id"], "content_index": 0}
        if self.deaf:
            fault = {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": "None.", "param": None}
            return await self.say(connection, talk, f"{kind}.failed", **about, error=fault)
        for word in words.split():
            more = {"delta": f" {word}", "obfuscation": "x" * 8}
            await self.say(connection, talk, f"{kind}.delta", **about, **more)
        usage = {"type": "duration", "seconds": max(1, round(seconds))}
        await self.say(connection, talk, f"{kind}.completed", **about, transcript=words, usage=usage)

    async def _add(self, connection: ServerConnection, talk: Talk, given: dict[str, Any]) -> None:
        wanted = {"user": ("input_text", "input_audio", "input_image"), "assistant": ("output_text", "output_audio")}
        for part in given.get("content", []):
            if part["type"] not in wanted.get(given["role"], ("input_text",)):
                raise Wrong("invalid_value", "item.content[0].type")
        item = {"id": new("item"), "status": "completed", **given}
        if item["type"] == "function_call_output":
            calls = [each.json.get("call_id") for each in talk.items if each.json["type"] == "function_call"]
            if item["call_id"] not in calls:
                raise Wrong("item_not_found", "item.call_id")
            del item["status"]
        previous = talk.items[-1].json["id"] if talk.items else None
        talk.items.append(Item(item))
        for stage in ("added", "done"):
            await self.say(connection, talk, f"conversation.item.{stage}", previous_item_id=previous, item=item)

    # what it answers

    def _stop(self, talk: Talk, why: str) -> bool:
        if talk.response is None or talk.response.done():
            return False
        talk.why = why
        talk.response.cancel()
        return True

    def _respond(self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, asked: dict[str, Any]) -> None:
        async def answer() -> None:
            with suppress(ConnectionClosed):
                await self._answer(connection, talk, behaviour, asked)

        talk.response = asyncio.create_task(answer())

    def response_object(self, talk: Talk, response_id: str, status: str, **more: Any) -> dict[str, Any]:
        output = talk.session["audio"]["output"]
        told = {
            "object": "realtime.response", "id": response_id, "status": status, "status_details": None, "output": [],
            "conversation_id": "conv_1", "output_modalities": talk.session["output_modalities"],
            "max_output_tokens": "inf", "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "usage": None, "metadata": None,
        }  # fmt: skip
        return {**told, **more}

    async def _answer(
        self, connection: ServerConnection, talk: Talk, behaviour: Behaviour, asked: dict[str, Any]
    ) -> None:
        response = new("resp")
        output: list[dict[str, Any]] = []
        await asyncio.sleep(behaviour.latency)
        await self.say(
            connection, talk, "response.created", response=self.response_object(talk, response, "in_progress")
        )
        status: dict[str, Any] = {"status": "completed"}
        try:
            if behaviour.trouble == "fails":
                error = {"type": "server_error", "code": "server_error", "message": "It failed."}
                status = {"status": "failed", "status_details": {"type": "failed", "error": error}}
            elif (name := self._wanted(talk, asked)) is not None:
                await self._call(connection, talk, response, output, name)
            else:
                words = self._words(talk) if behaviour.trouble != "endless" else "on and " * 10_000
                await self._speak(connection, talk, behaviour, response, output, words)
        except asyncio.CancelledError:
            status = {"status": "cancelled", "status_details": {"type": "cancelled", "reason": talk.why}}
        usage = self.usage(len(output))
        done = self.response_object(talk, response, output=output, usage=usage, **status)
        await self.say(connection, talk, "response.done", response=done)
        await self.after(connection, talk)

    async def after(self, connection: ServerConnection, talk: Talk) -> None:
        limits = [{"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 1.0}]
        await self.say(connection, talk, "rate_limits.updated", rate_limits=limits)

    def usage(self, items: int) -> dict[str, Any]:
        none = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
        given = {"text_tokens": 14, "audio_tokens": 27, "image_tokens": 0, "cached_tokens": 10}
        made = {"text_tokens": 20 * items, "audio_tokens": 100 * items}
        counts = {"total_tokens": 41 + 120 * items, "input_tokens": 41, "output_tokens": 120 * items}
        return {
            **counts,
            "input_token_details": {**given, "cached_tokens_details": none},
            "output_token_details": made,
        }

    def _wanted(self, talk: Talk, asked: dict[str, Any]) -> str | None:
        """The tool to be called."""
        tools = asked.get("tools") or talk.session["tools"]
        last = talk.items[-1] if talk.items else None
        if not tools or last is None or last.json.get("role") != "user" or "weather" not in last.words.lower():
            return None
        return str(tools[0]["name"])

    def _words(self, talk: Talk) -> str:
        last = talk.items[-1] if talk.items else None
        if last is None:
            return "Hello there."
        if last.json["type"] == "function_call_output":
            return f"The tool says: {last.json['output']}"
        return f"You said: {last.words}"

    async def _call(
        self, connection: ServerConnection, talk: Talk, response: str, output: list[dict[str, Any]], name: str
    ) -> None:
        call_id, item_id, arguments = new("call"), new("item"), '{"city":"London"}'
        item = {"id": item_id, "type": "function_call", "status": "in_progress", "name": name, "call_id": call_id}
        about = {"response_id": response, "output_index": 0}
        previous = talk.items[-1].json["id"]
        item["arguments"] = ""
        await self.say(connection, talk, "response.output_item.added", **about, item=item)
        await self.say(connection, talk, "conversation.item.added", previous_item_id=previous, item=item)
        call = {**about, "item_id": item_id, "call_id": call_id}
        for part in self.parts(arguments):
            await self.say(connection, talk, "response.function_call_arguments.delta", **call, delta=part)
        done = {"name": name, "arguments": arguments}
        await self.say(connection, talk, "response.function_call_arguments.done", **call, **done)
        item = {**item, "status": "completed", "arguments": arguments}
        talk.items.append(Item(item))
        output.append(item)
        await self.say(connection, talk, "conversation.item.done", previous_item_id=previous, item=item)
        await self.say(connection, talk, "response.output_item.done", **about, item=item)

    def parts(self, arguments: str) -> list[str]:
        return [arguments[at : at + 4] for at in range(0, len(arguments), 4)]

    async def _speak(
        self,
        connection: ServerConnection,
        talk: Talk,
        behaviour: Behaviour,
        response: str,
        output: list[dict[str, Any]],
        words: str,
    ) -> None:
        aloud = self.aloud(talk)
        previous = talk.items[-1].json["id"] if talk.items else None
        item = Item({"id": new("item"), "type": "message", "status": "in_progress", "role": "assistant", "content": []})
        item_id = item.json["id"]
        at = {"response_id": response, "output_index": 0}
        about = {**at, "item_id": item_id, "content_index": 0}
        talk.items.append(item)
        await self.say(connection, talk, "response.output_item.added", **at, item=item.json)
        await self.say(connection, talk, "conversation.item.added", previous_item_id=previous, item=item.json)
        kind, name = ("audio", "transcript") if aloud else ("text", "text")
        part = {"type": kind, name: ""}
        await self.say(connection, talk, "response.content_part.added", **about, part=part)
        told: list[str] = []
        text_event = "response.output_audio_transcript" if aloud else "response.output_text"
        try:
            for number, (word, pcm) in enumerate(spoken(words, RATE)):
                if behaviour.drop_after is not None and item.seconds >= behaviour.drop_after:
                    connection.transport.abort()
                    return
                if behaviour.stall_after is not None and item.seconds >= behaviour.stall_after:
                    await asyncio.get_running_loop().create_future()
                told.append(word.text)
                delta = f" {word.text}" if number else word.text
                await self.say(connection, talk, f"{text_event}.delta", **about, delta=delta, obfuscation="xxxx")
                for here in range(0, len(pcm), PIECE) if aloud else ():
                    talk.spoke = True
                    piece = pcm[here : here + PIECE]
                    item.seconds += len(piece) / 2 / RATE
                    data = base64.b64encode(piece).decode()
                    await self.say(connection, talk, "response.output_audio.delta", **about, delta=data)
                if not aloud:
                    item.seconds += 0.1
                await asyncio.sleep(0)
        finally:
            said = " ".join(told)
            content = [{"type": f"output_{kind}", name: said}]
            item.json = {**item.json, "status": "completed", "content": content}
            output.append(item.json)
        if aloud:
            await self.say(connection, talk, "response.output_audio.done", **about)
        await self.say(connection, talk, f"{text_event}.done", **about, **{name: said})
        part = {"type": kind, name: said}
        await self.say(connection, talk, "response.content_part.done", **about, part=part)
        await self.say(connection, talk, "conversation.item.done", previous_item_id=previous, item=item.json)
        await self.say(connection, talk, "response.output_item.done", **at, item=item.json)

    def aloud(self, talk: Talk) -> bool:
        return bool(talk.session["output_modalities"] == ["audio"])


class XaiTalks(OpenAITalks):
    """xAI's, by its recordings: a flat session, `conversation.created`, pings, cumulative transcripts, no truncation."""

    def session_object(self, model: str) -> dict[str, Any]:
        return {
            "id": secrets.token_hex(16), "object": "realtime.session", "instructions": "", "voice": "ara",
            "modalities": ["audio"], "turn_detection": {"type": None}, "tools": [], "model": model,
            "audio": {"input": {}, "output": {}},
        }  # fmt: skip

    async def first(self, connection: ServerConnection, session: Session, behaviour: Behaviour, talk: Talk) -> None:
        await super().first(connection, session, behaviour, talk)
        conversation = {"id": new("conv"), "object": "realtime.conversation"}
        await self.say(connection, talk, "conversation.created", conversation=conversation, previous_item_id=None)
        await self.say(connection, talk, "ping", timestamp=1785214081855, previous_item_id=None)

    def update(self, talk: Talk, asked: dict[str, Any]) -> None:
        for name in ("type", "output_modalities"):
            if name in asked:
                raise Wrong("unknown_parameter", f"session.{name}")
        audio = {
            side: {**talk.session["audio"][side], **asked.get("audio", {}).get(side, {})}
            for side in ("input", "output")
        }
        talk.session = {**talk.session, **asked, "audio": audio}

    def turns(self, talk: Talk) -> dict[str, Any] | None:
        turns = talk.session["turn_detection"]
        return (
            None
            if turns is None or turns["type"] is None
            else {"interrupt_response": True, "create_response": True, **turns}
        )

    def transcribes(self, talk: Talk) -> bool:
        return "transcription" in talk.session["audio"]["input"]

    def aloud(self, talk: Talk) -> bool:
        return True

    def response_object(self, talk: Talk, response_id: str, status: str, **more: Any) -> dict[str, Any]:
        more.pop("usage", None)  # it is beside the response
        details = more.pop("status_details", "unimplemented")
        told = {"id": response_id, "object": "realtime.response", "output": [], "status": status}
        return {**told, "status_details": details, "usage": {}, **more}

    async def say(self, connection: ServerConnection, talk: Talk, kind: str, **fields: Any) -> None:
        if kind == "response.done":
            fields["usage"] = self.usage(len(fields["response"]["output"]))
        await super().say(connection, talk, kind, **fields)

    def parts(self, arguments: str) -> list[str]:
        return [arguments]

    async def truncate(self, connection: ServerConnection, talk: Talk, said: dict[str, Any]) -> None:
        raise Wrong("invalid_value", "type")

    async def after(self, connection: ServerConnection, talk: Talk) -> None:
        await self.say(connection, talk, "ping", timestamp=1785214081900, previous_item_id=None)

    async def transcribe(
        self, connection: ServerConnection, talk: Talk, item: Item, words: str, seconds: float
    ) -> None:
        kind = "conversation.item.input_audio_transcription"
        about = {"item_id": item.json["id"], "content_index": 0, "previous_item_id": None}
        said = words.split()
        for count in range(1, len(said) + 1):
            so_far = {"transcript": " ".join(said[:count])}
            await self.say(connection, talk, f"{kind}.updated", **about, **so_far)
            if count % 3 == 0:
                await self.say(connection, talk, f"{kind}.completed", **about, **so_far, status="in_progress")
        await self.say(connection, talk, f"{kind}.completed", **about, transcript=words, status="completed")


if __name__ == "__main__":
    main(OpenAITalks)
