"""A ChatRequest as Gemini's generateContent. Pure.

Roles: system and developer messages become systemInstruction (all of them, wherever they stood), assistant is `model`, results
of tools stand in a turn of their own. What Gemini has no word for is left out: user, a tool's `strict`, a picture's detail,
cache hints.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import orjson

from gateway.contract.audio import Audio
from gateway.contract.errors import Refused
from gateway.contract.messages import File, Image, Message, Part, Sound, Text, Thought, Tool, ToolCall
from gateway.contract.requests import AnswerFormat, ChatRequest, ToolChoice
from gateway.contract.wav import wav_header
from providers._gemini_models import seals_calls, thinking_config

SEAL = "gemini:"
"""What the seals of its texts begin with outside: another provider's would be refused here, and no base64 holds a colon."""
NO_SEAL = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""skip_thought_signature_validator: what Google documents for calls whose seal was lost on the way, or that another model made."""
_SEEDS = 1 << 31

Contents = list[dict[str, Any]]


def encode(model: str, request: ChatRequest, more: Mapping[str, Any], generation: Mapping[str, Any]) -> bytes:
    """The body as JSON. `more`, `generation`: fields of it and of its generationConfig that the configuration adds.

    Raises Refused for what JSON cannot say and for results that answer no call.
    """
    body: dict[str, Any] = {**more, "contents": _contents(model, request.messages)}
    system = [{"text": text} for text in _system(request.messages)]
    if system and body["contents"]:
        body["systemInstruction"] = {"parts": system}
    elif system:
        body["contents"] = [{"role": "user", "parts": system}]
    config = {**generation, **_config(model, request)}
    if config:
        body["generationConfig"] = config
    if request.tools:
        body["tools"] = [{"functionDeclarations": [tool(each) for each in request.tools]}, *more.get("tools", ())]
        if request.tool_choice is not None:
            body["toolConfig"] = {**more.get("toolConfig", {}), "functionCallingConfig": _choice(request.tool_choice)}
    try:
        return orjson.dumps(body)
    except TypeError:
        raise Refused("the request cannot be written as JSON", code="invalid_json") from None


def _system(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        if message.role in ("system", "developer") and message.text:
            yield message.text


def _contents(model: str, messages: Iterable[Message]) -> Contents:
    """Neighbours of one role are one turn; results of tools are never one with what the user says."""
    contents: Contents = []
    last = ""
    names: dict[str, str] = {}
    for message in messages:
        match message.role:
            case "system" | "developer":
                continue
            case "assistant":
                names |= {call.id: call.name for call in message.tool_calls}
                parts = _said(model, message)
            case "tool":
                parts = _result(model, message, names)
            case _:
                parts = [_part(part) for part in message.parts if part != Text("")]
        if parts and message.role == last:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": "model" if message.role == "assistant" else "user", "parts": parts})
            last = message.role
    return contents


def _said(model: str, message: Message) -> list[dict[str, Any]]:
    """An answer of the model's. Its thoughts stay out; their seal, if it is Gemini's, goes with the text that it came with."""
    seal = next((s for part in message.parts if (s := _seal(part)) is not None), None)
    parts = [_part(part) for part in message.parts if not isinstance(part, Thought) and part != Text("")]
    if seal is not None:
        texts = [part for part in parts if "text" in part]
        if texts:
            texts[-1]["thoughtSignature"] = seal
        else:
            parts.append({"text": "", "thoughtSignature": seal})
    sealed = any(call.signature for call in message.tool_calls)
    for n, call in enumerate(message.tool_calls):
        part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": _arguments(call)}}
        if call.signature:
            part["thoughtSignature"] = call.signature
        elif n == 0 and not sealed and seals_calls(model):
            part["thoughtSignature"] = NO_SEAL
        parts.append(part)
    return parts


def _seal(part: Part) -> str | None:
    if isinstance(part, Thought) and part.signature and part.signature.startswith(SEAL):
        return part.signature.removeprefix(SEAL)
    return None


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = call.arguments  # a model wrote it, and the conversation goes on
    return arguments if isinstance(arguments, dict) else {"arguments": arguments}


def _result(model: str, message: Message, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Pictures and files in it stand inside since generation 3, beside it before."""
    name = names.get(message.tool_call_id or "")
    if name is None:
        raise Refused("a tool's result answers no call", code="invalid_tool", param="messages", detail=_NO_CALL)
    output: object = message.text
    try:
        parsed = orjson.loads(message.text)
        output = parsed if isinstance(parsed, dict | list) else output
    except orjson.JSONDecodeError:
        pass
    response = {"id": message.tool_call_id, "name": name, "response": {"error" if message.failed else "output": output}}
    media = [_part(part) for part in message.parts if not isinstance(part, Text | Thought)]
    if media and seals_calls(model):
        return [{"functionResponse": {**response, "parts": media}}]
    return [{"functionResponse": response}, *media]


_NO_CALL = "a message of role tool names a tool_call_id that no assistant's message before it has"


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text) | Thought(text):
            return {"text": text}
        case Image(url):
            return _media(url, "image/jpeg")
        case File(url):
            return _media(url, "application/pdf")
        case Sound(audio):
            return {"inlineData": {"mimeType": "audio/wav", "data": _wav(audio)}}


def _media(url: str, otherwise: str) -> dict[str, Any]:
    """`otherwise`: its type, where neither the URL nor its name tells."""
    if not url.startswith("data:"):
        kind, _ = mimetypes.guess_type(urlsplit(url).path)
        return {"fileData": {"mimeType": kind or otherwise, "fileUri": url}}
    head, _, data = url.removeprefix("data:").partition(",")
    kind, *options = head.split(";")
    if "base64" not in options:
        data = base64.b64encode(unquote_to_bytes(data)).decode("ascii")
    elif not _is_base64(data):
        raise Refused("a data URL is no base64", code="invalid_image", param="messages", detail="its data is no base64")
    return {"inlineData": {"mimeType": kind or otherwise, "data": data}}


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False


def _wav(audio: Audio) -> str:
    return base64.b64encode(wav_header(audio.rate, audio.samples) + audio.pcm).decode("ascii")


def tool(told: Tool) -> dict[str, Any]:
    schema = _json(told.parameters, "a tool's parameters")
    declared: dict[str, Any] = {"name": told.name}
    if told.description:
        declared["description"] = told.description
    if isinstance(schema, dict) and schema.get("properties"):  # one without parameters is declared without
        declared["parametersJsonSchema"] = schema
    return declared


def _choice(choice: ToolChoice) -> dict[str, Any]:
    match choice.mode:
        case "function":
            return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        case "required":
            return {"mode": "ANY"}
    return {"mode": choice.mode.upper()}


def _config(model: str, request: ChatRequest) -> dict[str, Any]:
    thinking = thinking_config(model, request.thinking) if request.thinking else None
    config = {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed % _SEEDS if request.seed is not None else None,  # 32 bits, and signed
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "thinkingConfig": thinking or None,
        **_format(request.format),
    }
    return {name: value for name, value in config.items() if value is not None}


def _format(format: AnswerFormat | None) -> dict[str, Any]:
    if format is None:
        return {}
    schema = _json(format.schema, "the answer's schema") if format.schema is not None else None
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def _json(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused(f"{what} are no JSON", code="invalid_tool") from None
