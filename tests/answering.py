"""An upstream that answers what it is asked, in the protocol it is asked in: what whole programs of real clients need.

    async with Upstream(Answering()) as upstream:       # every family at once: the path tells the protocol

The model's name and the last words of the user decide:

* `busy` and what follows: refused once with a 429, then answered; `cut`: the connection ends in mid-stream.
* "Be odd": a 400 that says so. Words that name cities, where tools are offered: a call of `weather` for each.
* Results of tools: "It is " and them. A JSON schema for the answer: {"city":"Oslo"}. A picture: what came of it.
* Anything else: "Good day". How many tokens it is: 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests import anthropic_scripts as anthropic
from tests import gemini_scripts as gemini
from tests import responses_scripts as responses
from tests import upstream_scripts as chat
from tests.upstream_scripts import DONE, chunk, event, whole
from tests.upstreams import Exchange, Received, Script

Answer = str | list[tuple[str, str]]
"""A text, or calls of (name, arguments)."""
CITIES = ("Oslo", "Bergen")
BE_ODD, TOO_ODD = "Be odd", "Too odd."


@dataclass(frozen=True, slots=True)
class Asked:
    """`words`: the user's last; `tools`: the names of those offered; `results`: of tools, where they come last; `pictures`: what
    came of each, base64."""

    model: str
    words: str = ""
    tools: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    schema: bool = False
    pictures: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        cities = [city for city in CITIES if city in self.words]
        if self.results:
            return f"It is {' and '.join(self.results)}"
        if "weather" in self.tools and cities:
            return [("weather", f'{{"city":"{city}"}}') for city in cities]
        if "json" in self.tools:  # by which `ai` asks Anthropic for an object
            return [("json", '{"city":"Oslo"}')]
        if self.schema:
            return '{"city":"Oslo"}'
        return f"A picture: {' '.join(self.pictures)}" if self.pictures else "Good day"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a family is asked, and how it says things."""

    read: Callable[[Received], Asked]
    says: Callable[[Answer], Script]
    odd: Script
    busy: Script
    cut: Script


class Answering:
    """See the top of this file. `busy`: the models and words that were refused once."""

    def __init__(self) -> None:
        self.busy: set[tuple[str, str]] = set()

    async def __call__(self, exchange: Exchange) -> None:
        counted = next((body for end, body in COUNTS.items() if exchange.request.path.endswith(end)), None)
        if counted is not None:
            return await exchange.answer(200, counted)
        protocol = next(spoken for end, spoken in PROTOCOLS.items() if end in exchange.request.path)
        asked = protocol.read(exchange.request)
        return await self._script(protocol, asked)(exchange)

    def _script(self, protocol: Protocol, asked: Asked) -> Script:
        if asked.words == BE_ODD:
            return protocol.odd
        if asked.model == "cut":
            return protocol.cut
        if asked.model.startswith("busy") and (asked.model, asked.words) not in self.busy:
            self.busy.add((asked.model, asked.words))
            return protocol.busy
        return protocol.says(asked.answer)


def answers(*given: Answer) -> list[Script]:
    """Scripts for tests/upstreams.py: each answers so, in whichever of OpenAI's two protocols it is asked."""
    return [_either(each) for each in given]


def _either(given: Answer) -> Script:
    async def play(exchange: Exchange) -> None:
        native = exchange.request.path.endswith("/responses")
        await (_says_responses if native else _says_chat)(given)(exchange)

    return play


def _says_chat(given: Answer) -> Script:
    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, _completion(given))
        await exchange.head()
        asked = exchange.request.json.get("stream_options") or {}
        await exchange.send(_chunks(given, bool(asked.get("include_usage"))))
        return await exchange.end()

    return play


def _says_responses(given: Answer) -> Script:
    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, _response(given))
        await exchange.head()
        await exchange.send(_events(given))
        return await exchange.end()

    return play


def _says_anthropic(given: Answer) -> Script:
    if isinstance(given, str):
        return anthropic.blocks({"type": "text", "text": given}, words=2)
    calls = [anthropic.tool_use(name, orjson.loads(said), f"toolu_{n}") for n, (name, said) in enumerate(given)]
    return anthropic.blocks(*calls, reason="tool_use", words=2)


def _says_gemini(given: Answer) -> Script:
    if isinstance(given, str):
        half = len(given) // 2
        return gemini.says(gemini.chunk([{"text": given[:half]}]), gemini.chunk([{"text": given[half:]}], "STOP", 2))
    calls = [{"functionCall": {"name": name, "args": orjson.loads(said)}} for name, said in given]
    return gemini.says(*[gemini.chunk([call]) for call in calls[:-1]], gemini.chunk([calls[-1]], "STOP", 2))


def _calls(given: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(given)
    ]


def _completion(given: Answer) -> dict[str, Any]:
    if isinstance(given, str):
        return whole({"content": given}, "stop", 2)
    return whole({"content": None, "tool_calls": _calls(given)}, "tool_calls", 2)


def _chunks(given: Answer, usage: bool) -> bytes:
    used = event({**chunk({}), "choices": [], "usage": chat.usage(2)}) if usage else b""
    if isinstance(given, str):
        said = event(chat.role()) + b"".join([event(chunk({"content": each})) for each in given])
        return said + event(chunk({}, "stop")) + used + DONE
    deltas = [{"index": n, **call} for n, call in enumerate(_calls(given))]
    said = event(chat.role()) + b"".join([event(chunk({"tool_calls": [each]})) for each in deltas])
    return said + event(chunk({}, "tool_calls")) + used + DONE


def _items(given: Answer) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [responses.message(given)]
    return [
        {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": name, "arguments": arguments}
        | {"status": "completed"}
        for n, (name, arguments) in enumerate(given)
    ]


def _response(given: Answer) -> dict[str, Any]:
    return responses.response("completed", _items(given), usage=responses.usage(2))


def _events(given: Answer) -> bytes:
    if isinstance(given, str):
        return responses.begins() + responses.word(given, 4) + responses.ends(given, 5, 2)
    told = [responses.event("response.created", 0, response=responses.response())]
    for index, item in enumerate(_items(given)):
        at = {"output_index": index}
        delta = {"item_id": item["id"], "delta": item["arguments"], **at}
        told += [
            responses.event(
                "response.output_item.added", 0, item={**item, "arguments": "", "status": "in_progress"}, **at
            ),
            responses.event("response.function_call_arguments.delta", 0, **delta),
            responses.event("response.output_item.done", 0, item=item, **at),
        ]
    return b"".join([*told, responses.event("response.completed", 0, response=_response(given))])


def _read_chat(request: Received) -> Asked:
    body = request.json
    turns = body["messages"]
    parts = _parts(_last(turns, lambda turn: turn["role"] == "user")["content"])
    return Asked(
        body["model"],
        _text(parts),
        tuple(tool["function"]["name"] for tool in body.get("tools", ())),
        tuple(_text(_parts(turn["content"])) for turn in _tail(turns, lambda turn: turn["role"] == "tool")),
        (body.get("response_format") or {}).get("type") == "json_schema",
        tuple(_base64(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"),
    )


def _read_responses(request: Received) -> Asked:
    body = request.json
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    parts = _parts(_last(items, lambda item: item.get("role") == "user")["content"])
    results = _tail(items, lambda item: item.get("type") == "function_call_output")
    return Asked(
        body["model"],
        _text(parts),
        tuple(tool["name"] for tool in body.get("tools", ())),
        tuple(_text(_parts(item["output"])) for item in results),
        ((body.get("text") or {}).get("format") or {}).get("type") == "json_schema",
        tuple(_base64(part["image_url"]) for part in parts if part["type"] == "input_image"),
    )


def _read_anthropic(request: Received) -> Asked:
    body = request.json
    turns = [_parts(turn["content"]) for turn in body["messages"] if turn["role"] == "user"]
    results = [part for part in turns[-1] if part["type"] == "tool_result"]
    return Asked(
        body["model"],
        _text(turns[-1]),
        tuple(tool["name"] for tool in body.get("tools", ())),
        tuple(_text(_parts(part["content"])) for part in results),
        "format" in (body.get("output_config") or {}),
        tuple(part["source"]["data"] for part in turns[-1] if part["type"] == "image"),
    )


def _read_gemini(request: Received) -> Asked:
    body = request.json
    parts = body["contents"][-1]["parts"]
    results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    return Asked(
        gemini.model(request),
        "".join(part.get("text", "") for part in parts),
        tuple(tool["name"] for each in body.get("tools", ()) for tool in each["functionDeclarations"]),
        tuple(str(result["output"]) for result in results),
        "responseJsonSchema" in (body.get("generationConfig") or {}),
        tuple(part["inlineData"]["data"] for part in parts if "inlineData" in part),
    )


Each = Callable[[Mapping[str, Any]], bool]


def _last(turns: list[Any], is_one: Each) -> Any:
    return next(turn for turn in reversed(turns) if is_one(turn))


def _tail(turns: list[Any], is_one: Each) -> list[Any]:
    """Those at the end that are."""
    count = next((n for n, turn in enumerate(reversed(turns)) if not is_one(turn)), len(turns))
    return turns[len(turns) - count :]


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _text(parts: list[dict[str, Any]]) -> str:
    return "".join(part.get("text", "") for part in parts)


def _base64(url: str) -> str:
    return url.partition(";base64,")[2]


COUNTS: Mapping[str, dict[str, Any]] = {
    "/count_tokens": {"input_tokens": 7},
    ":countTokens": {"totalTokens": 7},
}
"""The tokens of any request."""
_KIND, _SLOW = "invalid_request_error", "Slow down."
_CHAT_ODD = chat.status(400, TOO_ODD, _KIND, "odd")
_CHAT_BUSY = chat.status(429, _SLOW, "requests", "rate_limit_exceeded", retry_after="1")
_MINUTE = gemini.quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
PROTOCOLS: Mapping[str, Protocol] = {
    "/chat/completions": Protocol(_read_chat, _says_chat, _CHAT_ODD, _CHAT_BUSY, chat.dies(3)),
    "/responses": Protocol(_read_responses, _says_responses, _CHAT_ODD, _CHAT_BUSY, responses.dies(3)),
    "/messages": Protocol(
        _read_anthropic,
        _says_anthropic,
        anthropic.status(400, TOO_ODD, _KIND),
        anthropic.status(429, _SLOW, "rate_limit_error", retry_after="1"),
        anthropic.dies(3),
    ),
    "/models/": Protocol(
        _read_gemini,
        _says_gemini,
        gemini.status(400, TOO_ODD, "INVALID_ARGUMENT"),
        gemini.status(429, _SLOW, "RESOURCE_EXHAUSTED", _MINUTE, gemini.retry("1s")),
        gemini.stops_after(3, goes=True),
    ),
}
