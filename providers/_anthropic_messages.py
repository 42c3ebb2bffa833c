"""A conversation in Anthropic's form: the system prompt apart, turns of user and assistant in alternation, blocks in each."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from gateway.contract.errors import Refused
from gateway.contract.messages import CacheFor, File, Image, Message, Part, Sound, Text, Thought

Block = dict[str, Any]

OPENING = "Hello."
"""Said by the user where the assistant spoke first: a conversation must begin with the user."""
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_DATA = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_FOREIGN = re.compile(r"[a-z]+:|gAAAA")
"""How the seals of others begin: of those who put their name before them, and OpenAI's, which are Fernet tokens."""
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def cannot(conversation: Sequence[Message]) -> str | None:
    """What of it has no form here, in a few words."""
    for message in conversation:
        for part in message.parts:
            if type(part) is not Text and (why := _cannot(message, part)) is not None:
                return why
    if all(message.role in ("system", "developer") for message in conversation):
        return "it needs a message that is not the system's"
    return None


def _cannot(message: Message, part: Part) -> str | None:
    match part:
        case Sound():
            return "it does not hear audio"
        case Image() | File() if message.role not in ("user", "tool"):
            return f"it takes no pictures or files in a message of the {message.role}'s"
        case Image(url) if not _takes(url, _PICTURES):
            return "it takes pictures by https, or as JPEG, PNG, GIF or WebP in a data URL"
        case File(url) if not _takes(url, ("application/pdf", "text/plain")):
            return "it takes files by https, or as PDF or plain text in a data URL"
    return None


def _takes(url: str, kinds: Sequence[str]) -> bool:
    head = _DATA.match(url)
    return head[1].lower() in kinds if head else url.startswith("https://")


def encode(conversation: Sequence[Message], thoughts: bool) -> tuple[str | list[Block], list[Block]]:
    """The system prompt and the turns. `thoughts`: hand back those that are sealed; others never are."""
    system: list[Block] = []
    turns: list[Block] = []
    for message in conversation:
        if message.role in ("system", "developer"):
            system += _texts(message)
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = list(_blocks(message, thoughts))
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [_text(OPENING)]})
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()  # a prefill must not end with white space
    return _plain(system), [{**turn, "content": _plain(turn["content"])} for turn in turns]


def may_think(conversation: Sequence[Message]) -> bool:
    """Whether a tool turn under way, if there is one, began with a sealed thought, without which thinking cannot go on in it."""
    for message in reversed(conversation):
        if message.role == "user":
            return True
        if message.role == "assistant" and message.tool_calls:
            return any(isinstance(part, Thought) and _sealed(part) for part in message.parts)
    return True


def parsed(text: str, what: str) -> Block:
    """A JSON object from its text. Raises Refused."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise Refused(f"{what} must be a JSON object", code="invalid_tool")
    return value


def marked(block: Block, cache: CacheFor | None) -> Block:
    """With the caller's wish that the prompt be cached up to here."""
    if cache is not None:
        block["cache_control"] = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
    return block


def _plain(blocks: list[Block]) -> str | list[Block]:
    """One bare text is written as a string."""
    if not blocks:
        return ""
    only = blocks[0]
    return only["text"] if len(blocks) == 1 and set(only) == {"type", "text"} else blocks


def _blocks(message: Message, thoughts: bool) -> Iterator[Block]:
    if message.role == "tool":
        yield _result(message)
        return
    for part in message.parts:
        yield from _part(part, thoughts)
    for call in message.tool_calls:
        yield {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": _input(call.arguments)}


def _result(message: Message) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id or "")}
    content = [block for part in message.parts for block in _part(part, thoughts=False)]
    # Of several marks the last counts; a result has one, and its parts none.
    cache = next((part.cache for part in reversed(message.parts) if isinstance(part, Text | Image | File)), None)
    if content:
        block["content"] = _plain([{k: v for k, v in each.items() if k != "cache_control"} for each in content])
    if message.failed:
        block["is_error"] = True
    return marked(block, cache)


def _part(part: Part, thoughts: bool) -> Iterator[Block]:
    match part:
        case Text(text, cache):
            if text.strip():  # empty ones are refused
                yield marked(_text(text), cache)
        case Image(url, _, cache):
            yield marked({"type": "image", "source": _source(url)}, cache)
        case File(url, name, cache):
            title = {"title": name} if name else {}
            yield marked({"type": "document", "source": _source(url), **title}, cache)
        case Thought(text, seal, redacted) if thoughts and _sealed(part):
            yield (
                {"type": "redacted_thinking", "data": seal}
                if redacted
                else {"type": "thinking", "thinking": text, "signature": seal}
            )
        case Sound():
            raise Refused("it does not hear audio")


def _sealed(thought: Thought) -> bool:
    """By Anthropic: a seal of another's would be refused."""
    return bool(thought.signature) and not _FOREIGN.match(thought.signature or "")


def _texts(message: Message) -> list[Block]:
    return [
        marked(_text(part.text), part.cache) for part in message.parts if isinstance(part, Text) and part.text.strip()
    ]


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _source(url: str) -> Block:
    head = _DATA.match(url)
    if head is None:
        return {"type": "url", "url": url}
    kind, data = head[1].lower(), url[head.end() :]
    encoded = head[2].lower().endswith(";base64")
    if kind == "text/plain":
        return {"type": "text", "media_type": kind, "data": _decoded(data, encoded)}
    if not encoded:
        data = base64.b64encode(unquote_to_bytes(data)).decode("ascii")
    return {"type": "base64", "media_type": kind, "data": data}


def _decoded(data: str, encoded: bool) -> str:
    try:
        return (base64.b64decode(data, validate=True) if encoded else unquote_to_bytes(data)).decode()
    except (binascii.Error, ValueError):
        raise Refused("a text file in a data URL must be base64 of UTF-8", code="invalid_file") from None


def _id(call: str) -> str:
    """Other providers' ids hold characters that are refused here; a call and its result change alike."""
    return _NOT_IN_IDS.sub("_", call) or "_"


def _input(arguments: str) -> Block:
    """A model's arguments are mostly an object. What is not stays as it was written, rather than end the conversation."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}
