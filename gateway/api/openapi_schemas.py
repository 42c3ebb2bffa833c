"""Schemas of what endpoints accept, in JSON Schema, for openapi.py: what is checked here, and no more."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def text(**more: object) -> Json:
    return {"type": "string", **more}


def integer(low: int, high: int) -> Json:
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Json:
    return {"type": "number", "minimum": low, "maximum": high}


def several(items: Json, most: int, least: int = 0) -> Json:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def thing(*required: str, **fields: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": fields}


def one_of(*schemas: Json) -> Json:
    return {"anyOf": list(schemas)}


def maybe(schema: Json) -> Json:
    return one_of(schema, {"type": "null"})


def word(value: str) -> Json:
    return text(enum=[value])


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


FLAG: Json = {"type": "boolean"}
ANY: Json = {"type": "object"}
NAME = text(maxLength=256)
TOKENS = integer(1, 2**31)
PICTURE = text(pattern="^data:image/png;base64,[A-Za-z0-9+/]{4}$")
"""`https` and `http` addresses do as well, where they do not point into a private network."""

ERROR, MESSAGE_ERROR = ref("Error"), ref("MessageError")
_SAID = thing("message", "type", message=text(), type=text(), param=maybe(text()), code=maybe(text()))

_PARTS = one_of(
    thing("type", "text", type=word("text"), text=text()),
    thing("type", "image_url", type=word("image_url"), image_url=thing("url", url=PICTURE, detail=text(maxLength=32))),
)
_CONTENT = one_of(text(minLength=1), several(_PARTS, 1000, 1))
_CALL = thing(
    "id", "type", "function", id=text(), type=word("function"), function=thing("name", name=text(), arguments=text())
)
_TURN = one_of(
    thing("role", "content", role=text(enum=["system", "developer", "user"]), content=_CONTENT),
    thing("role", role=word("assistant"), content=maybe(_CONTENT), tool_calls=several(_CALL, 1000)),
    thing("role", "content", "tool_call_id", role=word("tool"), content=_CONTENT, tool_call_id=text()),
)
_FUNCTION = thing("name", name=NAME, description=text(), parameters=ANY, strict=maybe(FLAG))
_SAMPLING = {
    "model": NAME,
    "stream": maybe(FLAG),
    "temperature": maybe(number(0, 2)),
    "top_p": maybe(number(0, 1)),
    "user": maybe(NAME),
}
_PENALTIES = {"presence_penalty": maybe(number(-2, 2)), "frequency_penalty": maybe(number(-2, 2))}
_STOP = maybe(one_of(text(), several(text(), 16)))
_SHAPE = one_of(
    thing("type", type=text(enum=["text", "json_object"])),
    thing("type", "json_schema", type=word("json_schema"), json_schema=thing("schema", name=NAME, schema=ANY)),
)

_CHAT = thing(
    "model",
    "messages",
    **_SAMPLING,
    **_PENALTIES,
    messages=several(_TURN, 10_000, 1),
    tools=maybe(several(thing("type", "function", type=word("function"), function=_FUNCTION), 512)),
    tool_choice=maybe(text(enum=["auto", "none", "required"])),
    parallel_tool_calls=maybe(FLAG),
    response_format=maybe(_SHAPE),
    stop=_STOP,
    n=maybe(integer(1, 128)),
    seed=maybe(integer(-(2**63), 2**63 - 1)),
    logprobs=maybe(FLAG),
    max_tokens=maybe(TOKENS),
    max_completion_tokens=maybe(TOKENS),
    reasoning_effort=maybe(text(enum=["none", "minimal", "low", "medium", "high", "xhigh"])),
    stream_options=maybe(thing(include_usage=maybe(FLAG))),
)
_ITEM = one_of(
    thing("role", "content", role=text(enum=["system", "developer", "user", "assistant"]), content=text(minLength=1)),
    thing(
        "type",
        "call_id",
        "name",
        "arguments",
        type=word("function_call"),
        call_id=text(),
        name=text(),
        arguments=text(),
    ),
    thing("type", "call_id", "output", type=word("function_call_output"), call_id=text(), output=text()),
)
_RESPONSE = thing(
    "model",
    "input",
    **_SAMPLING,
    input=one_of(text(minLength=1), several(_ITEM, 10_000, 1)),
    instructions=maybe(text()),
    max_output_tokens=maybe(TOKENS),
    tools=maybe(several(thing("type", "name", type=word("function"), name=NAME, parameters=ANY), 512)),
    tool_choice=maybe(text(enum=["auto", "none", "required"])),
)
_BLOCK = one_of(
    thing("type", "text", type=word("text"), text=text()),
    thing(
        "type",
        "source",
        type=word("image"),
        source=thing(
            "type",
            "media_type",
            "data",
            type=word("base64"),
            media_type=word("image/png"),
            data=text(pattern="^[A-Za-z0-9+/]{4}$"),
        ),
    ),
)
_SPOKEN = {
    **_SAMPLING,
    "temperature": maybe(number(0, 1)),
    "messages": several(
        thing(
            "role", "content", role=text(enum=["user", "assistant"]), content=one_of(text(), several(_BLOCK, 1000, 1))
        ),
        10_000,
        1,
    ),
    "system": maybe(text()),
    "stop_sequences": maybe(several(text(), 16)),
    "tools": maybe(several(thing("name", "input_schema", name=NAME, input_schema=ANY), 512)),
}
_TOKEN = integer(0, 2**32 - 1)
COMPONENTS: Json = {
    "Error": thing("error", error=_SAID),
    "MessageError": thing(
        "type", "error", type=word("error"), error=thing("type", "message", type=text(), message=text())
    ),
}
REQUESTS: dict[str, Json] = {
    "Chat": _CHAT,
    "Response": _RESPONSE,
    "Messages": thing("model", "messages", "max_tokens", **_SPOKEN, max_tokens=TOKENS),
    "CountTokens": thing("model", "messages", **_SPOKEN),
    "Completion": thing(
        "model",
        "prompt",
        **_SAMPLING,
        **_PENALTIES,
        prompt=text(),
        stop=_STOP,
        n=maybe(integer(1, 128)),
        max_tokens=maybe(TOKENS),
    ),
    "Embeddings": thing(
        "model",
        "input",
        model=NAME,
        input=one_of(text(minLength=1), several(text(minLength=1), 2048, 1), several(_TOKEN, 300_000, 1)),
        dimensions=maybe(integer(1, 2**20)),
        encoding_format=text(enum=["float", "base64"]),
        user=maybe(NAME),
    ),
    "Speech": thing(
        "model",
        "input",
        model=NAME,
        input=text(minLength=1, maxLength=65_536),
        voice=maybe(NAME),
        response_format=text(enum=["mp3", "opus", "aac", "flac", "wav", "pcm"]),
        stream_format=text(enum=["audio", "sse"]),
        speed=maybe(number(0.25, 4)),
        language=maybe(text(maxLength=35)),
    ),
}
_RECORDING: Json = {
    "model": NAME,
    "file": text(contentMediaType="application/octet-stream"),
    "prompt": text(),
    "temperature": number(0, 1),
}
TRANSCRIPTION: Json = thing(
    "model",
    "file",
    **_RECORDING,
    language=text(maxLength=35),
    response_format=text(enum=["json", "text", "verbose_json", "srt", "vtt", "diarized_json"]),
    stream=text(enum=["true", "false"]),
)
TRANSLATION: Json = thing(
    "model", "file", **_RECORDING, response_format=text(enum=["json", "text", "verbose_json", "srt", "vtt"])
)
