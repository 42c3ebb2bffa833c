"""Chunks: a chat's events as OpenAI's JSON. Pure.

An event with `raw` is forwarded as it came. A stream has either form throughout: once one event carried the upstream's own
chunk, an event without one is part of a chunk already sent.
"""

from __future__ import annotations

import orjson

from gateway.contract.events import (
    AnswerEvent,
    Finished,
    Passed,
    Rerouted,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)

DONE = b"data: [DONE]\n\n"
_FIELDS = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}


def frame(data: bytes) -> bytes:
    """`data` as one server-sent event. Line breaks, which valid JSON has only between tokens, start new data lines."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"data: " + data + b"\n\n"


def finish_reason(event: Finished) -> str:
    return "stop" if event.reason == "cancelled" else event.reason


def usage_fields(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "audio_tokens": usage.audio_input_tokens,
            **({"cache_write_tokens": usage.cache_write_tokens} if usage.cache_write_tokens else {}),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_output_tokens,
        },
    }


class Chunks:
    """The server-sent events of one streaming answer. `usage`: whether the caller asked for it; `created`: Unix seconds."""

    def __init__(self, identity: str, created: int, model: str, usage: bool) -> None:
        common = {"id": identity, "object": "chat.completion.chunk", "created": created, "model": model}
        self._common = orjson.dumps(common)[:-1]
        self._usage_asked, self._usage = usage, Usage()
        self._role_told = False
        self._first: bytes | None = None  # the first chunk forwarded
        self._usage_told = False
        self._end = b',"usage":null}\n\n' if usage else b"}\n\n"

    def encode(self, event: AnswerEvent) -> bytes:
        """What is sent for it: whole server-sent events, or nothing."""
        if type(event) is TextDelta and event.raw is not None:  # nearly all of them
            self._first = self._first or event.raw
            return b"data: %b\n\n" % event.raw if event.pieces > 1 else frame(event.raw)
        match event:
            case TextDelta() | ToolCallDelta() | ThoughtSealed() | Usage() | Passed() | Finished() if (
                event.raw is not None
            ):
                self._first = self._first or event.raw
                self._usage_told |= isinstance(event, Usage)
                return b"" if self._unwanted(event) else frame(event.raw)
            case Rerouted():
                return self._rerouted(event)
            case Usage():
                self._usage = event
            case Finished() if self._first is not None:
                return b"" if self._usage_told or self._usage == Usage() else self._usage_chunk(_head_of(self._first))
            case _ if self._first is not None:
                return b""
            case TextDelta():
                return self._delta({_FIELDS[event.kind]: event.text}, content="")
            case ToolCallDelta():
                return self._delta({"tool_calls": [_call(event)]}, content=None)
            case ThoughtSealed():
                return self._delta({"thinking_blocks": [_sealed(event)]}, content="")
            case Finished():
                return self._delta({}, "", finish_reason(event)) + self._usage_chunk(self._common)
        return b""

    def _rerouted(self, event: Rerouted) -> bytes:
        """Another target goes on: its chunks are ours from here, with the stream's id and its own name."""
        head = orjson.loads((self._common if self._first is None else _head_of(self._first)) + b"}")
        self._common = orjson.dumps({**head, "model": event.target})[:-1]
        self._first, self._role_told = None, True
        told = f": rerouted from {event.origin} to {event.target}: {event.reason}"
        return " ".join(told.split()).encode() + b"\n\n"

    def _unwanted(self, event: AnswerEvent) -> bool:
        """The usage chunk a caller did not ask for. Some upstreams send usage inside the last chunk instead: that one stays."""
        if self._usage_asked or not isinstance(event, Usage) or event.raw is None:
            return False
        try:
            chunk = orjson.loads(event.raw)
        except orjson.JSONDecodeError:
            return True
        return not (isinstance(chunk, dict) and chunk.get("choices"))

    def _delta(self, delta: dict[str, object], content: str | None, reason: str | None = None) -> bytes:
        if not self._role_told:
            self._role_told = True
            delta = {"role": "assistant", "content": content, **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return b"".join((b"data: ", self._common, b',"choices":[', orjson.dumps(choice), b"]", self._end))

    def _usage_chunk(self, head: bytes) -> bytes:
        """Also for upstreams that count in a field of their own (Groq), where the caller asked for the common one."""
        if not self._usage_asked:
            return b""
        return b"".join((b"data: ", head, b',"choices":[],"usage":', orjson.dumps(usage_fields(self._usage)), b"}\n\n"))


def _head_of(chunk: bytes) -> bytes:
    """What the chunks of a stream have in common, ready for more fields."""
    try:
        fields = orjson.loads(chunk)
    except orjson.JSONDecodeError:
        fields = None
    known = fields if isinstance(fields, dict) else {}
    return orjson.dumps({name: known.get(name) for name in ("id", "object", "created", "model")})[:-1]


def _sealed(event: ThoughtSealed, text: str = "") -> dict[str, object]:
    """As LiteLLM writes it, whose clients hand it back: OpenAI's protocol has no words for sealed reasoning."""
    if event.redacted:
        return {"type": "redacted_thinking", "data": event.signature}
    return {"type": "thinking", "thinking": text, "signature": event.signature}


def _call(event: ToolCallDelta) -> dict[str, object]:
    function: dict[str, object] = {"arguments": event.arguments}
    call: dict[str, object] = {"index": event.index, "function": function}
    if event.name is not None:
        function["name"] = event.name
    if event.id is not None:
        call |= {"id": event.id, "type": "function"}
    if event.signature is not None:
        call["signature"] = event.signature
    return call


class Completion:
    """One whole answer, from its events."""

    def __init__(self) -> None:
        self._text: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, str]] = {}
        self._thought: list[str] = []
        self._sealed: list[dict[str, object]] = []
        self._usage = Usage()
        self._reason = "stop"

    def add(self, event: AnswerEvent) -> None:
        match event:
            case TextDelta():
                self._text.setdefault(_FIELDS[event.kind], []).append(event.text)
                if event.kind == "reasoning":
                    self._thought.append(event.text)
            case ThoughtSealed():
                self._sealed.append(_sealed(event, "".join(self._thought)))
                self._thought.clear()
            case ToolCallDelta():
                call = self._calls.setdefault(event.index, {"id": "", "name": "", "arguments": ""})
                call["id"] = event.id or call["id"]
                call["name"] = event.name or call["name"]
                call["arguments"] += event.arguments
                if event.signature is not None:
                    call["signature"] = event.signature
            case Usage():
                self._usage = event
            case Finished():
                self._reason = finish_reason(event)

    def body(self, identity: str, created: int, model: str) -> bytes:
        text = {name: "".join(pieces) for name, pieces in self._text.items()}
        message: dict[str, object] = {"role": "assistant", "content": None, "refusal": None, **text}
        if self._sealed:
            message["thinking_blocks"] = self._sealed
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                    **({"signature": call["signature"]} if "signature" in call else {}),
                }
                for _, call in sorted(self._calls.items())
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason}
        head = {"id": identity, "object": "chat.completion", "created": created, "model": model}
        return orjson.dumps({**head, "choices": [choice], "usage": usage_fields(self._usage)})
