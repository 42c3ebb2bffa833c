"""Protocol families of the failover catalogue: how an upstream speaks each. A further one is a class and a line in FAMILIES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

import orjson

from tests import anthropic_scripts as anthropic_says
from tests import gemini_scripts as gemini_says
from tests import responses_scripts as responses_says
from tests import upstream_scripts as openai_says
from tests.upstreams import Received

Error = Literal["rate-limited", "failing", "too-long", "against-policy", "no-prefill"]

WHY: Mapping[Error, str] = MappingProxyType(
    {
        "rate-limited": "Rate limit reached.",
        "failing": "The server is overloaded.",
        "too-long": "This model's maximum context length is 8192 tokens, and your messages have 9000.",
        "against-policy": "Your request was rejected: it speaks of purple elephants.",
        "no-prefill": "This model does not support assistant message prefill.",
    }
)
"""The upstream's own words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to an upstream. `usage`: whether it asked for the usage of a stream; `turns`: (role, text), in order; `path`:
    where it was asked, in families that have several."""

    model: str
    stream: bool
    usage: bool
    turns: tuple[tuple[str, str], ...]
    path: str = ""

    @property
    def prefilled(self) -> bool:
        """Whether it is to go on in the middle of an answer of its own."""
        return bool(self.turns) and self.turns[-1][0] == "assistant"

    @property
    def delivered(self) -> str:
        """What was said of the answer before, if the request tells: the text of its last turn that is the assistant's."""
        return next((text for role, text in reversed(self.turns) if role == "assistant"), "")


class Family(Protocol):
    """`module`: the provider, a row of which speaks it; `path`: what its base_url has after the origin; `terminator`: says that
    a stream is over, where the protocol has something that does beyond `ends`; `policy_status`: what it answers with to a
    prompt that is against policy, and `policy_code`: its word for it."""

    module: str
    path: str
    terminator: bytes
    policy_status: int
    policy_code: str

    def asked(self, request: Received) -> Asked: ...

    def begins(self, asked: Asked) -> bytes:
        """The beginning of a stream, before any content."""

    def delta(self, asked: Asked, text: str) -> bytes:
        """One event of a stream."""

    def ends(self, asked: Asked, words: int) -> bytes:
        """Why it ended, and the usage."""

    def whole(self, asked: Asked, text: str) -> bytes:
        """The body of an answer that is not streamed."""

    def error(self, kind: Error) -> bytes:
        """The body of an error."""


class OpenAI:
    module, path, terminator, policy_status = "openai_compatible", "/v1", openai_says.DONE, 400
    policy_code = "content_policy_violation"

    def asked(self, request: Received) -> Asked:
        body = request.json
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        turns = tuple((message["role"], _text(message.get("content"))) for message in body["messages"])
        return Asked(body["model"], bool(body.get("stream")), usage, turns)

    def begins(self, asked: Asked) -> bytes:
        return self._event({"role": "assistant", "content": "", "refusal": None}, asked)

    def delta(self, asked: Asked, text: str) -> bytes:
        return self._event({"content": text}, asked)

    def ends(self, asked: Asked, words: int) -> bytes:
        last = self._event({}, asked, "stop")
        counted = {**openai_says.chunk({}, model=asked.model), "choices": [], "usage": openai_says.usage(words)}
        return last + openai_says.event(counted) if asked.usage else last

    def whole(self, asked: Asked, text: str) -> bytes:
        answer = openai_says.whole({"content": text}, "stop", len(text.split()))
        return orjson.dumps({**answer, "model": asked.model})

    def error(self, kind: Error) -> bytes:
        codes: dict[Error, tuple[str, str | None]] = {
            "rate-limited": ("requests", "rate_limit_exceeded"),
            "failing": ("server_error", None),
            "too-long": ("invalid_request_error", "context_length_exceeded"),
            "against-policy": ("invalid_request_error", "content_policy_violation"),
            "no-prefill": ("invalid_request_error", None),
        }
        return orjson.dumps(openai_says.error(WHY[kind], *codes[kind]))

    def _event(self, delta: dict[str, Any], asked: Asked, finish: str | None = None) -> bytes:
        return openai_says.event(openai_says.chunk(delta, finish, model=asked.model))


class Responses(OpenAI):
    """OpenAI asked for responses by a caller who asked us for one. What it is asked to go on with comes as a chat."""

    module, terminator = "openai", b""

    def asked(self, request: Received) -> Asked:
        if not request.path.endswith("/responses"):
            return replace(super().asked(request), path=request.path)
        given = request.json["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        turns = tuple((item["role"], _text(item.get("content"))) for item in items)
        return Asked(request.json["model"], request.wants_stream, True, turns)

    def begins(self, asked: Asked) -> bytes:
        return super().begins(asked) if asked.path else responses_says.begins(asked.model)

    def delta(self, asked: Asked, text: str) -> bytes:
        return super().delta(asked, text) if asked.path else responses_says.word(text, 4)

    def ends(self, asked: Asked, words: int) -> bytes:
        if asked.path:
            return super().ends(asked, words)
        return responses_says.ends(openai_says.text(words), 5, words, asked.model)

    def whole(self, asked: Asked, text: str) -> bytes:
        if asked.path:
            return super().whole(asked, text)
        output, words = [responses_says.message(text)], len(text.split())
        return orjson.dumps(
            responses_says.response("completed", output, usage=responses_says.usage(words), model=asked.model)
        )


class Gemini:
    """That a prompt is against policy is no error to it, but a 200 without an answer."""

    module, path, terminator, policy_status = "gemini", "/v1beta", b"", 200
    policy_code = "content_policy_violation"

    def asked(self, request: Received) -> Asked:
        turns = tuple(
            ({"model": "assistant"}.get(turn["role"], turn["role"]), _text(turn["parts"]))
            for turn in request.json["contents"]
        )
        return Asked(gemini_says.model(request), gemini_says.streams(request), True, turns)

    def begins(self, asked: Asked) -> bytes:
        return openai_says.event({"usageMetadata": gemini_says.usage(0)})

    def delta(self, asked: Asked, text: str) -> bytes:
        return openai_says.event(gemini_says.chunk([{"text": text}]))

    def ends(self, asked: Asked, words: int) -> bytes:
        return openai_says.event(gemini_says.chunk([{"text": ""}], "STOP", words))

    def whole(self, asked: Asked, text: str) -> bytes:
        return orjson.dumps(gemini_says.chunk([{"text": text}], "STOP", len(text.split())))

    def error(self, kind: Error) -> bytes:
        too_long = "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."
        told: dict[Error, dict[str, Any]] = {
            "rate-limited": gemini_says.error(429, WHY[kind], "RESOURCE_EXHAUSTED"),
            "failing": gemini_says.error(503, WHY[kind], "UNAVAILABLE"),
            "too-long": gemini_says.error(400, f"{too_long} {WHY[kind]}", "INVALID_ARGUMENT"),
            "against-policy": gemini_says.blocked("PROHIBITED_CONTENT", WHY[kind]),
            "no-prefill": gemini_says.error(400, WHY[kind], "INVALID_ARGUMENT"),
        }
        return orjson.dumps(told[kind])


class Anthropic:
    """It has one word for all requests that are at fault."""

    module, path, terminator, policy_status = "anthropic", "", anthropic_says.STOP, 400
    policy_code = "invalid_request_error"

    def asked(self, request: Received) -> Asked:
        body = request.json
        turns = tuple((message["role"], _text(message.get("content"))) for message in body["messages"])
        return Asked(body["model"], bool(body.get("stream")), usage=True, turns=turns)

    def begins(self, asked: Asked) -> bytes:
        return anthropic_says.begins(asked.model) + anthropic_says.text_begins()

    def delta(self, asked: Asked, text: str) -> bytes:
        return anthropic_says.says(text)

    def ends(self, asked: Asked, words: int) -> bytes:
        return anthropic_says.event({"type": "content_block_stop", "index": 0}) + anthropic_says.closes(words=words)

    def whole(self, asked: Asked, text: str) -> bytes:
        content = [{"type": "text", "text": text}]
        return orjson.dumps(anthropic_says.message(content, "end_turn", len(text.split()), model=asked.model))

    def error(self, kind: Error) -> bytes:
        types: dict[Error, str] = {"rate-limited": "rate_limit_error", "failing": "api_error"}
        why = f"prompt is too long: 9000 tokens > 8192 maximum. {WHY[kind]}" if kind == "too-long" else WHY[kind]
        return orjson.dumps(anthropic_says.error(why, types.get(kind, "invalid_request_error")))


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content if isinstance(content, str) else ""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {"openai": OpenAI(), "openai-responses": Responses(), "gemini": Gemini(), "anthropic": Anthropic()}
)
ASKED_FOR_RESPONSES = frozenset({"openai-responses"})
"""Families in which the caller asks for responses, and not for chats."""
