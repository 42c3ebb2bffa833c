"""Commands: what a client may send on `oai-events` and on `gateway`, decoded and checked. Pure.

`decode` gives a typed command or raises `Rejected`, which says what an OpenAI Realtime `error` event needs to say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from gateway.calls.session import Choice, FunctionTool, Given, Json, Limit, Modality, Settings


class Rejected(Exception):
    """A client event that cannot be done; it is discarded whole. `param`: the field at fault, from the event's top."""

    def __init__(self, code: str, message: str, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param, self.event_id = code, message, param, event_id


class Sent(Given):
    event_id: str | None = None


class SessionUpdate(Sent):
    type: Literal["session.update"]
    session: Settings


class Content(Given):
    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio", "text"]
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None
    image_url: str | None = None
    detail: str | None = None


class MessageItem(Given):
    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: list[Content]
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text or part.transcript or "" for part in self.content)


class CallItem(Given):
    """A function that the agent called, as it is put into a conversation that is seeded."""

    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    arguments: str
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: str | None = None
    status: str | None = None


class OutputItem(Given):
    """What a function that the agent called has to say."""

    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1, max_length=64)]
    output: str
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: str | None = None
    status: str | None = None


class ItemCreate(Sent):
    type: Literal["conversation.item.create"]
    item: Annotated[MessageItem | CallItem | OutputItem, Field(discriminator="type")]
    previous_item_id: str | None = None


class ItemRetrieve(Sent):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemDelete(Sent):
    type: Literal["conversation.item.delete"]
    item_id: str


class ItemTruncate(Sent):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int
    audio_end_ms: Annotated[int, Field(ge=0)]


class Asked(Given):
    """What `response.create` may change for one answer. Fields we only accept are not acted on."""

    instructions: str | None = None
    output_modalities: Annotated[list[Modality], Field(min_length=1, max_length=1)] | None = None
    max_output_tokens: Limit | None = None
    metadata: dict[str, str] | None = None
    conversation: Literal["auto"] | None = None
    audio: Json | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Json | None = None
    prompt: Json | None = None


class ResponseCreate(Sent):
    type: Literal["response.create"]
    response: Asked | None = None


class ResponseCancel(Sent):
    type: Literal["response.cancel"]
    response_id: str | None = None


class OutputClear(Sent):
    type: Literal["output_audio_buffer.clear"]


class InputCommit(Sent):
    type: Literal["input_audio_buffer.commit"]


class InputClear(Sent):
    type: Literal["input_audio_buffer.clear"]


class InputAppend(Sent):
    type: Literal["input_audio_buffer.append"]
    audio: str


Command = (
    SessionUpdate
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
    | OutputClear
    | InputCommit
    | InputClear
    | InputAppend
)
_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])
_SETTINGS: TypeAdapter[Settings] = TypeAdapter(Settings)


class ShowHistory(Given):
    type: Literal["history"]


class PlayoutDelay(Given):
    """The client's own delay between a packet's arrival and its sound, seconds (a browser has it from getStats)."""

    type: Literal["playout_delay"]
    seconds: Annotated[float, Field(ge=0.0, le=2.0)]


class ChangeMode(Given):
    type: Literal["mode"]
    mode: Literal["cascaded", "omni"]


class Hangup(Given):
    type: Literal["hangup"]


Ours = ShowHistory | PlayoutDelay | ChangeMode | Hangup
_OURS: TypeAdapter[Ours] = TypeAdapter(Annotated[Ours, Field(discriminator="type")])


def decode(text: str) -> Command:
    """A message of `oai-events`. Raises Rejected."""
    sent = _json(text)
    try:
        return _COMMAND.validate_python(sent)
    except ValidationError as error:
        raise _rejected(error, sent, skip=1) from None


def decode_ours(text: str) -> Ours:
    """A message of `gateway`. Raises Rejected."""
    sent = _json(text)
    try:
        return _OURS.validate_python(sent)
    except ValidationError as error:
        raise _rejected(error, sent, skip=1) from None


def decode_settings(session: Json) -> Settings:
    """The `session` part of a call's offer; `type` may be left out there. Raises Rejected."""
    sent = {"type": "realtime", **session}
    try:
        return _SETTINGS.validate_python(sent)
    except ValidationError as error:
        raise _rejected(error, sent, skip=0, prefix="session") from None


def _json(text: str) -> Json:
    try:
        sent = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Rejected("invalid_json", "the event is not valid JSON") from None
    if not isinstance(sent, dict):
        raise Rejected("invalid_json", "an event is a JSON object")
    return sent


_CODES = {
    "extra_forbidden": "unknown_parameter",
    "missing": "missing_required_parameter",
    "union_tag_not_found": "missing_required_parameter",
    "greater_than_equal": "integer_below_min_value",
    "less_than_equal": "integer_above_max_value",
    "literal_error": "invalid_value",
    "union_tag_invalid": "invalid_value",
}
_UNION_PARTS = frozenset(
    {
        "realtime",
        "transcription",
        "server_vad",
        "semantic_vad",
        "audio/pcm",
        "audio/pcmu",
        "audio/pcma",
        "int",
        "str",
        "message",
        "function_call",
        "function_call_output",
        "FunctionChoice",
        "literal['auto','none','required']",
    }
)
"""What pydantic adds to a location to say which part of a union was tried; no field's name."""


def _rejected(error: ValidationError, sent: Json, skip: int, prefix: str = "") -> Rejected:
    first = error.errors(include_url=False, include_input=False)[0]
    event_id = sent.get("event_id")
    path: list[Any] = [part for part in first["loc"][skip:] if part not in _UNION_PARTS]
    if first["type"].startswith("union_tag"):
        path.append("type")
    param = ".".join(str(part) for part in ([prefix] if prefix else []) + path)
    code = _CODES.get(first["type"], "invalid_type" if first["type"].endswith("_type") else "invalid_value")
    return Rejected(
        code, f"{param}: {_told(first['type'], first['msg'])}", param, event_id if isinstance(event_id, str) else None
    )


def _told(kind: str, message: str) -> str:
    # pydantic's text for a wrong tag quotes the value; clients learn the choices, which is what they need.
    return "unknown field" if kind == "extra_forbidden" else message[:300]
