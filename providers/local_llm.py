"""local_llm: a language model on this machine, by llama.cpp in a worker process.

Models: `smollm2` (SmolLM2-135M-Instruct: speaks fluently and knows little), or whatever `model_path` names. Its `options`
in routes.yaml, each with its default:

    model_path: null    a GGUF file; it answers to every model name
    context: 4096       tokens of prompt and answer together
    max_tokens: 256     of an answer, when the request does not say
    threads: 2          that read a prompt
    writers: 1          threads that write: two gain little on idle cores, and on busy ones they lose much
    tools: false        offer the request's tools (SmolLM2 cannot call any); without it, requests with tools go elsewhere
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any

import orjson

from gateway.contract.errors import Refused, Unavailable
from gateway.contract.events import Events, Finished, FinishReason, TextDelta, ToolCallDelta, Usage
from gateway.contract.messages import Message, Text, Thought, Tool
from gateway.contract.provider import Settings
from gateway.contract.requests import ChatRequest, Request
from gateway.contract.weights import SMOLLM2, Weights
from gateway.contract.worker import Worker
from providers._options import read

TEMPERATURE = 0.2  # what SmolLM2's authors generate with; so is TOP_P
TOP_P = 0.9
REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


class Provider:
    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for options it does not have."""
        options = read(settings, model_path=None, context=4096, max_tokens=256, threads=2, writers=1, tools=False)
        self._name, self._max_tokens, self._tools = settings.name, options["max_tokens"], options["tools"]
        self._path: str | None = options["model_path"] and os.path.expanduser(options["model_path"])
        engine = {name: options[name] for name in ("context", "threads", "writers")}
        engine["path"] = self._path or str(SMOLLM2.path())
        self._worker = Worker(settings.name, "providers._llama:open_engine", engine)

    async def chat(self, model: str, request: ChatRequest) -> Events:
        self._check(model)
        finish: FinishReason | None = None
        usage = Usage()
        async with aclosing(self._worker.run(self._body(request))) as pieces:
            async for piece in pieces:
                for event in _deltas(piece.fields.get("delta", {})):
                    yield event
                if "finish" in piece.fields:
                    finish = REASONS.get(piece.fields["finish"], "stop")
                if "usage" in piece.fields:
                    usage = Usage(*piece.fields["usage"])
        if finish is None:
            raise Unavailable(f"{self._name}: the answer was cut off", self._name)
        yield usage
        yield Finished(finish)

    async def warm(self, model: str, prompts: tuple[str, ...]) -> None:
        """Loads the model and reads the system prompts, so that the first turn reads only its own words."""
        self._check(model)
        await self._worker.start()
        for prompt in prompts:
            messages = (Message.of("system", prompt), Message.of("user", "Hello."))
            async with aclosing(
                self._worker.run(self._body(ChatRequest(messages, max_tokens=1)), relaxed=True)
            ) as pieces:
                async for _ in pieces:
                    pass

    def asleep(self, model: str) -> str | None:
        if self._path is None and model != "smollm2":
            return f"local_llm has no model {model!r}; it has smollm2, or any GGUF file set as model_path"
        if find_spec("xllamacpp") is None:
            return "llama.cpp is not installed: pip install 'trunkline[local]'"
        if self._path is None and not SMOLLM2.present():
            return "weights are missing; run: trunkline models pull"
        if self._path is not None and not os.path.isfile(self._path):
            return "model_path names no file"
        return None

    def weights(self, model: str) -> tuple[Weights, ...]:
        return () if self._path else (SMOLLM2,)

    def cannot(self, model: str, request: Request) -> str | None:
        """Sound, pictures and files it cannot read, a schema it does not keep; tools it has only where its row says so."""
        if not isinstance(request, ChatRequest):
            return None
        if any(not isinstance(part, Text | Thought) for message in request.messages for part in message.parts):
            return "it reads text only"
        choice = request.tool_choice.mode if request.tool_choice else "auto"
        if request.tools and not self._tools and choice != "none":
            return "it calls no tools"
        if request.format is not None:
            return "it keeps to no JSON schema"
        if request.n > 1 or request.logprobs:
            return "it gives one answer, without logprobs"
        return f"it cannot be told '{request.untyped[0]}'" if request.untyped else None

    async def aclose(self) -> None:
        await self._worker.aclose()

    def _check(self, model: str) -> None:
        if reason := self.asleep(model):
            raise Unavailable(reason, self._name)

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        if not request.messages:
            raise Refused(f"{self._name}: messages must not be empty", self._name)
        body: dict[str, Any] = {
            "messages": [self._message(message) for message in request.messages],
            "max_tokens": request.max_tokens or self._max_tokens,
            "temperature": TEMPERATURE if request.temperature is None else request.temperature,
            "top_p": TOP_P if request.top_p is None else request.top_p,
            "cache_prompt": True,
            "dry_multiplier": 0.8,  # a small model falls into loops; this ends them, and touches nothing else
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body["seed"] = request.seed
        if self._tools and request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        return body

    def _message(self, message: Message) -> dict[str, Any]:
        if any(not isinstance(part, Text | Thought) for part in message.parts):
            raise Unavailable(f"{self._name} reads text only", self._name)
        role = "system" if message.role == "developer" else message.role
        told: dict[str, Any] = {"role": role, "content": message.text}
        if self._tools and message.tool_calls:
            told["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
        if self._tools and message.tool_call_id is not None:
            told["tool_call_id"] = message.tool_call_id
        return told


def _deltas(delta: Mapping[str, Any]) -> list[TextDelta | ToolCallDelta]:
    events: list[TextDelta | ToolCallDelta] = []
    if thought := delta.get("reasoning_content"):
        events.append(TextDelta(thought, "reasoning"))
    if text := delta.get("content"):
        events.append(TextDelta(text))
    for call in delta.get("tool_calls", ()):
        function = call.get("function", {})
        events.append(
            ToolCallDelta(call.get("index", 0), call.get("id"), function.get("name"), function.get("arguments") or "")
        )
    return events


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = orjson.loads(tool.parameters)
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }
