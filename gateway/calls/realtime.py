"""The Realtime codec: what happens in a call, as OpenAI Realtime (GA) server events. Pure; decoding is in commands.py.

One `RealtimeCodec` per client. It keeps what the protocol makes it keep: the count of events, how much of a transcript was
told, and where audio goes inside the events (WebSockets), an answer's stream in the format that the session wants.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from gateway.calls.carried import CarriedOut
from gateway.calls.events import (
    Called,
    CallEvent,
    InputCleared,
    InputTimedOut,
    ItemAdded,
    ItemDeleted,
    ItemShown,
    ItemTruncated,
    LimitsTold,
    PartialHeard,
    Problem,
    Response,
    ResponseAudio,
    ResponseBegan,
    ResponseCalled,
    ResponseEnded,
    ResponseSpoke,
    ResponseText,
    SessionChanged,
    SessionStarted,
    Silenced,
    Sounded,
    Sounding,
    SpeechBegan,
    SpeechStopped,
    TranscriptionLost,
    TurnCommitted,
    TurnTranscribed,
)
from gateway.calls.history import Item
from gateway.calls.session import Json, Session
from gateway.contract.events import Usage


class RealtimeCodec:
    def __init__(self, session: Session, audio_in_events: bool = False) -> None:
        self._session, self._carries = session, audio_in_events
        self._sound: dict[str, CarriedOut] = {}  # by response
        self._count = 0
        self._transcripts: dict[str, Growing] = {}

    def encode(self, event: CallEvent) -> list[str]:
        """The messages for `oai-events`, none for what the protocol has no word for."""
        return [self._frame(each) for each in self._events(event)]

    def _frame(self, event: Json) -> str:
        self._count += 1
        return orjson.dumps({"type": event["type"], "event_id": f"event_{self._count:06d}", **event}).decode()

    def _events(self, event: CallEvent) -> Iterator[Json]:
        match event:
            case SessionStarted(session):
                self._session = session
                yield {"type": "session.created", "session": session.as_json()}
            case SessionChanged(session):
                self._session = session
                yield {"type": "session.updated", "session": session.as_json()}
            case Problem():
                yield {"type": "error", "error": _error(event)}
            case SpeechBegan() | SpeechStopped() | TurnCommitted() | InputCleared() | InputTimedOut():
                yield from self._input(event)
            case PartialHeard() | TurnTranscribed() | TranscriptionLost():
                yield from self._transcript(event)
            case ItemAdded() | ItemDeleted() | ItemShown() | ItemTruncated():
                yield from self._item(event)
            case ResponseCalled(response, previous):
                yield from _call(response, previous)
            case ResponseBegan() | ResponseSpoke() | ResponseText() | ResponseEnded():
                yield from self._response(event)
            case LimitsTold(limits):
                told = [
                    {"name": each.name, "limit": each.limit, "remaining": each.remaining, "reset_seconds": each.reset}
                    for each in limits
                ]
                yield {"type": "rate_limits.updated", "rate_limits": told}
            case ResponseAudio(response, pcm) if self._carries:
                sound = self._sound.get(response.id)
                if sound is None:
                    sound = self._sound[response.id] = CarriedOut(self._session.settings.audio.output.format)
                yield from _sound(response, sound.feed(pcm))
            case Sounding() | Sounded() | Silenced() if self._carries:
                pass  # only where the gateway plays
            case Sounding(response_id):
                yield {"type": "output_audio_buffer.started", "response_id": response_id}
            case Sounded(response_id):
                yield {"type": "output_audio_buffer.stopped", "response_id": response_id}
            case Silenced(response_id):
                yield {"type": "output_audio_buffer.cleared", "response_id": response_id}
            case _:
                pass

    def _input(
        self, event: SpeechBegan | SpeechStopped | TurnCommitted | InputCleared | InputTimedOut
    ) -> Iterator[Json]:
        buffer = "input_audio_buffer"
        match event:
            case SpeechBegan(item_id, at):
                yield {"type": f"{buffer}.speech_started", "audio_start_ms": _ms(at), "item_id": item_id}
            case SpeechStopped(item_id, at):
                yield {"type": f"{buffer}.speech_stopped", "audio_end_ms": _ms(at), "item_id": item_id}
            case TurnCommitted(item, previous):
                yield {"type": f"{buffer}.committed", "previous_item_id": previous, "item_id": item.id}
                yield from _added(item, previous)
            case InputCleared():
                yield {"type": f"{buffer}.cleared"}
            case InputTimedOut(item_id, start, end):
                about: Json = {"audio_start_ms": _ms(start), "audio_end_ms": _ms(end), "item_id": item_id}
                yield {"type": f"{buffer}.timeout_triggered", **about}

    def _transcript(self, event: PartialHeard | TurnTranscribed | TranscriptionLost) -> Iterator[Json]:
        if not self._session.transcribes:
            return
        kind = "conversation.item.input_audio_transcription"
        about: Json = {"item_id": event.item_id, "content_index": 0}
        match event:
            case PartialHeard(item_id, text):
                if delta := self._transcripts.setdefault(item_id, Growing()).partial(text):
                    yield {"type": f"{kind}.delta", **about, "delta": delta}
            case TurnTranscribed(item_id, text, seconds):
                if delta := self._transcripts.pop(item_id, Growing()).final(text):
                    yield {"type": f"{kind}.delta", **about, "delta": delta}
                usage = {"type": "duration", "seconds": round(seconds, 3)}
                yield {"type": f"{kind}.completed", **about, "transcript": text, "usage": usage}
            case TranscriptionLost(item_id, message):
                self._transcripts.pop(item_id, None)
                error = {"type": "server_error", "code": "transcription_failed", "message": message, "param": None}
                yield {"type": f"{kind}.failed", **about, "error": error}

    def _item(self, event: ItemAdded | ItemDeleted | ItemShown | ItemTruncated) -> Iterator[Json]:
        match event:
            case ItemAdded(item, previous):
                yield from _added(item, previous)
            case ItemDeleted(item_id):
                yield {"type": "conversation.item.deleted", "item_id": item_id}
            case ItemShown(item):
                yield {"type": "conversation.item.retrieved", "item": item_json(item)}
            case ItemTruncated(asked=False) if self._carries:
                pass  # the client knows better what it played, and says so
            case ItemTruncated(item_id, seconds):
                about: Json = {"item_id": item_id, "content_index": 0, "audio_end_ms": _ms(seconds)}
                yield {"type": "conversation.item.truncated", **about}

    def _response(self, event: ResponseBegan | ResponseSpoke | ResponseText | ResponseEnded) -> Iterator[Json]:
        response = event.response
        match event:
            case ResponseBegan():
                yield {"type": "response.created", "response": self._response_json(response)}
            case ResponseSpoke(_, item, previous):
                told = {**item_json(item), "content": []}
                yield {"type": "response.output_item.added", **_output(response), "item": told}
                yield {"type": "conversation.item.added", "previous_item_id": previous, "item": told}
                yield {"type": "response.content_part.added", **_content(response), "part": _part(response, "")}
            case ResponseText(_, delta):
                yield {"type": f"{_words(response)}.delta", **_content(response), "delta": delta}
            case ResponseEnded(_, previous):
                if (sound := self._sound.pop(response.id, None)) is not None:
                    yield from _sound(response, sound.finish())
                if response.item_id is not None:
                    yield from _ending(response, previous)
                yield {"type": "response.done", "response": self._response_json(response)}

    def _response_json(self, response: Response) -> Json:
        session = self._session
        output = session.settings.audio.output
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": response.status,
            "status_details": _status_details(response),
            "output": _all_output(response),
            "conversation_id": session.conversation,
            "output_modalities": [response.modality],
            "max_output_tokens": session.settings.max_output_tokens,
            "audio": {"output": {"format": output.format.model_dump(), "voice": session.voice}},
            "usage": None if response.status == "in_progress" else _usage(response.usage or Usage()),
            "metadata": dict(response.metadata) if response.metadata is not None else None,
        }


class Growing:
    """Append-only text out of partials that are revised: only what two partials in a row agree on is told.

    The last word of a partial is never told, since it is the one most often revised. If what was told turns out wrong,
    nothing more is; the final transcript says the truth.
    """

    def __init__(self) -> None:
        self._last: list[str] = []
        self._told = ""

    def partial(self, text: str) -> str:
        """What can be added to what was told; often nothing."""
        words = _split(text)
        agreed = 0
        while agreed < min(len(words) - 1, len(self._last)) and words[agreed] == self._last[agreed]:
            agreed += 1
        self._last = words
        return self._grow("".join(words[:agreed]))

    def final(self, text: str) -> str:
        return self._grow(text)

    def _grow(self, text: str) -> str:
        if not text.startswith(self._told):
            return ""
        delta, self._told = text[len(self._told) :], text
        return delta


def _split(text: str) -> list[str]:
    """Words, each with the white space before it."""
    words: list[str] = []
    for letter in text:
        if not words or (letter.isspace() and not words[-1].isspace()):
            words.append("")
        words[-1] += letter
    return words


def _call(response: Response, previous: str | None) -> Iterator[Json]:
    """The last of the response's calls, from its beginning to its end: its arguments came whole."""
    call = response.calls[-1]
    at = {"response_id": response.id, "output_index": _index(response, len(response.calls) - 1)}
    begun = {**call_json(call), "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", **at, "item": begun}
    yield {"type": "conversation.item.added", "previous_item_id": previous, "item": begun}
    about = {**at, "item_id": call.item_id, "call_id": call.call_id}
    kind = "response.function_call_arguments"
    yield {"type": f"{kind}.delta", **about, "delta": call.arguments}
    yield {"type": f"{kind}.done", **about, "name": call.name, "arguments": call.arguments}
    yield {"type": "conversation.item.done", "previous_item_id": previous, "item": call_json(call)}
    yield {"type": "response.output_item.done", **at, "item": call_json(call)}


def _index(response: Response, call: int) -> int:
    return call if response.item_id is None or call < response.before else call + 1


def call_json(call: Called) -> Json:
    about = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    return {"id": call.item_id, "type": "function_call", "status": "completed", **about}


def _all_output(response: Response) -> list[Json]:
    items = [call_json(each) for each in response.calls]
    if response.item_id is not None:
        items.insert(response.before, _answer_json(response))
    return items


def _added(item: Item, previous: str | None) -> Iterator[Json]:
    for stage in ("added", "done"):
        yield {"type": f"conversation.item.{stage}", "previous_item_id": previous, "item": item_json(item)}


def item_json(item: Item) -> Json:
    if item.call_id is not None and item.name is not None:
        return call_json(Called(item.id, item.call_id, item.name, item.text or ""))
    if item.call_id is not None:
        return {"id": item.id, "type": "function_call_output", "call_id": item.call_id, "output": item.text or ""}
    match item.role, item.form:
        case "user", "audio":
            content: Json = {"type": "input_audio", "transcript": item.text}
        case "assistant", "audio":
            content = {"type": "output_audio", "transcript": item.text or ""}
        case "assistant", _:
            content = {"type": "output_text", "text": item.text or ""}
        case _:
            content = {"type": "input_text", "text": item.text or ""}
    return {"id": item.id, "type": "message", "status": item.status, "role": item.role, "content": [content]}


def _answer_json(response: Response) -> Json:
    assert response.item_id is not None
    status = {"in_progress": "in_progress", "completed": "completed"}.get(response.status, "incomplete")
    kind, field = ("output_audio", "transcript") if response.modality == "audio" else ("output_text", "text")
    content = [{"type": kind, field: response.text}]
    return {"id": response.item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def _ending(response: Response, previous: str | None) -> Iterator[Json]:
    content, item = _content(response), _answer_json(response)
    field = "transcript" if response.modality == "audio" else "text"
    if response.modality == "audio":
        yield {"type": "response.output_audio.done", **content}
    yield {"type": f"{_words(response)}.done", **content, field: response.text}
    yield {"type": "response.content_part.done", **content, "part": _part(response, response.text)}
    yield {"type": "conversation.item.done", "previous_item_id": previous, "item": item}
    yield {"type": "response.output_item.done", **_output(response), "item": item}


def _sound(response: Response, deltas: Iterator[str]) -> Iterator[Json]:
    for delta in deltas:
        yield {"type": "response.output_audio.delta", **_content(response), "delta": delta}


def _words(response: Response) -> str:
    return "response.output_audio_transcript" if response.modality == "audio" else "response.output_text"


def _part(response: Response, text: str) -> Json:
    # `audio` and `text` here, `output_audio` and `output_text` in items: strict clients check.
    return {"type": "audio", "transcript": text} if response.modality == "audio" else {"type": "text", "text": text}


def _output(response: Response) -> Json:
    return {"response_id": response.id, "output_index": response.before}


def _content(response: Response) -> Json:
    return {**_output(response), "item_id": response.item_id, "content_index": 0}


def _status_details(response: Response) -> Json | None:
    if response.status in ("in_progress", "completed"):
        return None
    details: Json = {"type": response.status}
    if response.cause is not None:
        details["reason"] = response.cause
    if response.failure is not None:
        details["error"] = {"type": "server_error", "code": response.failure}
    return details


def _usage(usage: Usage) -> Json:
    """The llm's count; speech is not counted in tokens here."""
    none = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
    cached = {
        "cached_tokens": usage.cached_tokens,
        "cached_tokens_details": {**none, "text_tokens": usage.cached_tokens},
    }
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {**none, "text_tokens": usage.input_tokens, **cached},
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }


def _error(problem: Problem) -> Json:
    return {
        "type": problem.kind,
        "code": problem.code,
        "message": problem.message,
        "param": problem.param,
        "event_id": problem.event_id,
    }


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
