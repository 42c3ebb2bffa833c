"""The items of a response's input, as messages.

An item is less than a message: reasoning, text and calls of one turn stand side by side. What the assistant said is
gathered until somebody else speaks, so that calls made together are answered together.
"""

from __future__ import annotations

from gateway.api.fields import Fields
from gateway.api.urls import why_not
from gateway.api.wire import LONGEST_NAME, MOST_PARTS, read_sound
from gateway.contract.messages import File, Image, Message, Part, Role, Text, Thought, ToolCall

REDACTED = "rs_redacted_"
"""How the id of a reasoning item begins of which the seal is all there is (see responses_events.py)."""

_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}


class Conversation:
    """`untyped`: told of what has no typed form."""

    def __init__(self, untyped: list[str]) -> None:
        self._untyped = untyped
        self._messages: list[Message] = []
        self._thoughts: list[Part] = []
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []

    def messages(self) -> tuple[Message, ...]:
        self._end_turn()
        return tuple(self._messages)

    def say(self, role: Role, text: str) -> None:
        self._messages.append(Message.of(role, text))

    def add(self, item: Fields) -> None:
        """Raises BadRequest."""
        match item.text("type", 64) or "message":
            case "message":
                self._message(item)
            case "function_call":
                name, arguments = item.needed_text("name", LONGEST_NAME), item.needed_text("arguments")
                call = ToolCall(item.needed_text("call_id"), name, arguments, item.text("signature"))
                self._calls.append(call)
            case "function_call_output":
                self._end_turn()
                parts = _parts(item, "output", self._untyped)
                self._messages.append(Message("tool", parts, (), item.needed_text("call_id")))
            case "reasoning":
                self._reasoning(item)
            case _:
                self._end_turn()
                self._untyped.append(f"{item.path}type")

    def _message(self, item: Fields) -> None:
        role = _ROLES.get(item.needed_text("role"))
        if role is None:
            raise item.fault("role", f"must be one of {', '.join(_ROLES)}")
        parts = _parts(item, "content", self._untyped)
        if role != "assistant":
            self._end_turn()
            self._messages.append(Message(role, parts))
            return
        if self._parts and not self._calls:
            self._end_turn()
        self._parts += parts

    def _reasoning(self, item: Fields) -> None:
        """Sealed reasoning, handed back. What is not sealed is of no use to anybody: its id means something where it was kept."""
        seal = item.text("encrypted_content")
        if not seal:
            return
        if self._parts and not self._calls:
            self._end_turn()
        told = [item.of(part, name) for name in ("summary", "content") for part in item.items(name, MOST_PARTS)]
        text = "".join(part.text("text") or "" for part in told)
        redacted = (item.text("id") or "").startswith(REDACTED)
        self._thoughts.append(Thought(text, seal, redacted))

    def _end_turn(self) -> None:
        if self._parts or self._calls or self._thoughts:
            parts = (*self._thoughts, *self._parts)
            self._messages.append(Message("assistant", parts, tuple(self._calls)))
            self._thoughts, self._parts, self._calls = [], [], []


def _parts(item: Fields, name: str, untyped: list[str]) -> tuple[Part, ...]:
    given = item.mapping.get(name)
    if isinstance(given, str):
        return (Text(given),)
    if not isinstance(given, list):
        raise item.fault(name, "is missing" if given is None else "must be a string or an array of parts")
    parts = [
        _part(item.of(each, f"{name}[{index}]"), untyped) for index, each in enumerate(item.items(name, MOST_PARTS))
    ]
    return tuple([part for part in parts if part is not None])


def _part(part: Fields, untyped: list[str]) -> Part | None:
    match part.needed_text("type", 64):
        case "input_text" | "output_text" | "text" | "summary_text":
            return Text(part.needed_text("text"))
        case "refusal":
            return Text(part.needed_text("refusal"))
        case "input_image" if part.mapping.get("image_url") is not None:
            return Image(_address(part, "image_url"), part.text("detail", 32))
        case "input_file" if part.mapping.get("file_url") is not None:
            return File(_address(part, "file_url"), part.text("filename", LONGEST_NAME))
        case "input_file" if part.mapping.get("file_data") is not None:
            return File(_document(part), part.text("filename", LONGEST_NAME))
        case "input_image" | "input_file":
            untyped.append(f"{part.path}file_id")
        case "input_audio":
            return read_sound(part.needed_inner("input_audio"))
        case _:
            untyped.append(f"{part.path}type")
    return None


def _address(part: Fields, name: str) -> str:
    url = part.needed_text(name)
    problem = why_not(url)
    if problem is not None:
        raise part.fault(name, problem)
    return url


def _document(part: Fields) -> str:
    data = part.needed_text("file_data")
    return data if data.startswith("data:") else f"data:application/pdf;base64,{data}"
