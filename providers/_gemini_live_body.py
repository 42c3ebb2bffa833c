"""What a session of Gemini Live is told: its setup, what was said before, what tools did. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gateway.contract.messages import Message
from gateway.contract.requests import ConverseRequest, Eagerness
from providers._gemini_body import tool

Json = dict[str, Any]

HEARS, SPEAKS = 16_000, 24_000
"""Samples per second. Other rates would be resampled by it."""
_ENDS: dict[Eagerness, str] = {"low": "END_SENSITIVITY_LOW", "high": "END_SENSITIVITY_HIGH"}


def setup(model: str, asked: ConverseRequest, more: Mapping[str, Any], handle: str | None, resumes: bool) -> Json:
    """`more`: of its generationConfig, from the row; `handle`: of the session that this one goes on with."""
    config: Json = {**more, "responseModalities": ["AUDIO" if asked.speaks else "TEXT"]}
    if asked.voice is not None:
        config["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": asked.voice}}}
    if asked.max_tokens is not None:
        config["maxOutputTokens"] = asked.max_tokens
    told: Json = {"model": model if "/" in model else f"models/{model}", "generationConfig": config}
    if asked.instructions.strip():
        told["systemInstruction"] = {"parts": [{"text": asked.instructions}]}
    if asked.tools:
        told["tools"] = [{"functionDeclarations": [tool(each) for each in asked.tools]}]
    told |= {"inputAudioTranscription": {}, "realtimeInputConfig": _turns(asked)}
    if asked.speaks:
        told["outputAudioTranscription"] = {}
    if resumes:
        told["sessionResumption"] = {} if handle is None else {"handle": handle}
    return {"setup": {**told, "contextWindowCompression": {"slidingWindow": {}}}}


def _turns(asked: ConverseRequest) -> Json:
    if asked.turns == "client":
        return {"automaticActivityDetection": {"disabled": True}}
    detection: Json = {}
    if asked.eagerness in _ENDS:
        detection["endOfSpeechSensitivity"] = _ENDS[asked.eagerness]
    elif asked.patience is not None:
        detection["silenceDurationMs"] = round(asked.patience * 1000)
    handling = {} if asked.interrupts else {"activityHandling": "NO_INTERRUPTION"}
    return {"automaticActivityDetection": detection, **handling}


def turns(messages: Iterable[Message]) -> list[Json]:
    """What was said, by turns. What tools were called with and what they did is told in words: their ids were others'."""
    told: list[Json] = []
    for message in messages:
        words = message.text
        if message.role == "tool":
            words = f"(A tool answered: {words})"
        for call in message.tool_calls:
            words = f"{words}\n(The tool {call.name} was called with {call.arguments})".strip()
        if words:
            role = "model" if message.role == "assistant" else "user"
            told.append({"role": role, "parts": [{"text": words}]})
    return told


def content(said: list[Json], over: bool) -> Json:
    """`over`: it is to be answered."""
    return {"client_content": {**({"turns": said} if said else {}), "turnComplete": over}}


def result(call_id: str, name: str, output: str) -> Json:
    try:
        parsed = orjson.loads(output)
    except orjson.JSONDecodeError:
        parsed = output
    return {"id": call_id, "name": name, "response": {"output": parsed}}
