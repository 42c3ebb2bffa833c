"""Exact: fields that nobody here knows, as the very bytes that came.

A body is parsed once and written again for its target, which keeps every value but not how it was written: 1.10, 30 digits, \\u00e9.
What a field of OpenAI's own may hold does not depend on that; what a stranger's may, only its reader knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import orjson

from gateway.api.fields import Fields

LARGEST = 1 << 18
"""Bytes of a body that is gone through a second time, at 17 ms for the worst of that size. Larger ones keep values alone."""
KNOWN = frozenset(
    [
        "audio",
        "background",
        "context_management",
        "best_of",
        "conversation",
        "dimensions",
        "echo",
        "encoding_format",
        "frequency_penalty",
        "function_call",
        "functions",
        "include",
        "input",
        "instructions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tool_calls",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "suffix",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
"""Fields that are read here, or that OpenAI documents."""

_scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
_blanks = re.compile(r"[ \t\r\n]*").match


def exact(body: Fields) -> Mapping[str, object]:
    """The body for a target that speaks its dialect; orjson writes strangers' fields as they came."""
    if not body.raw or len(body.raw) > LARGEST or KNOWN.issuperset(body.mapping):
        return body.mapping
    came = _members(body.raw.decode())
    return {name: value if name in KNOWN else orjson.Fragment(came[name]) for name, value in body.mapping.items()}


def _members(text: str) -> dict[str, bytes]:
    """The value of each member of the object, which orjson has found valid. Of several of a name the last, as with orjson."""
    found: dict[str, bytes] = {}
    at = _after(text, _after(text, 0) + 1)
    while text[at] != "}":
        name, end = _scan(text, at)
        at = _after(text, _after(text, end) + 1)
        _, end = _scan(text, at)
        found[name] = text[at:end].encode()
        at = _after(text, end)
        if text[at] == ",":
            at = _after(text, at + 1)
    return found


def _after(text: str, at: int) -> int:
    """Where the next thing begins."""
    blanks = _blanks(text, at)
    return blanks.end() if blanks else at
