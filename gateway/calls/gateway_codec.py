"""The codec of the `gateway` channel: what OpenAI's protocol has no word for, in ours. Pure; decoding is in commands.py."""

from __future__ import annotations

import orjson

from gateway.calls.events import (
    CallEnded,
    CallEvent,
    CallStarted,
    HistoryShown,
    Interrupted,
    Measured,
    ModeChanged,
    ModeKept,
    PartialHeard,
    Rerouted,
)
from gateway.calls.session import Json
from gateway.calls.timeline import MARKS, Turn


def encode(event: CallEvent) -> str | None:
    """The message, or None if this channel does not tell it."""
    told = _told(event)
    return None if told is None else orjson.dumps(told).decode()


def _told(event: CallEvent) -> Json | None:
    match event:
        case CallStarted(call_id, route, mode, modes):
            return {"type": "call", "call_id": call_id, "route": route, "mode": mode, "modes": modes}
        case Measured(turn):
            return {"type": "turn", "turn": turn_json(turn)}
        case PartialHeard(_, text):
            return {"type": "partial", "text": text}
        case Interrupted(turn_id, heard, estimated):
            return {"type": "interrupted", "turn": turn_id, "heard": heard, "estimated": estimated}
        case HistoryShown(said):
            items = [{"role": each.role, "text": each.text, "interrupted": each.interrupted} for each in said]
            return {"type": "history", "items": items}
        case Rerouted(stage, target, reason):
            return {"type": "rerouted", "stage": stage, "target": target, "reason": reason}
        case ModeChanged(before, mode, reason, seconds, route):
            told = {"type": "mode", "mode": mode, "before": before, "route": route, "reason": reason}
            return {**told, "seconds": round(seconds, 4)}
        case ModeKept(mode, wished, reason):
            return {"type": "mode_kept", "mode": mode, "wished": wished, "reason": reason}
        case CallEnded(reason):
            return {"type": "ended", "reason": reason}
    return None


def turn_json(turn: Turn) -> Json:
    """Seconds, to the tenth of a millisecond."""
    return {
        "id": turn.id,
        "marks": {name: round(turn.marks[name], 4) for name in MARKS if name in turn.marks},
        "transcription_delay": _rounded(turn.transcription_delay),
        "end_of_turn_delay": _rounded(turn.end_of_turn_delay),
        "llm_node_ttft": _rounded(turn.llm_node_ttft),
        "tts_node_ttfb": _rounded(turn.tts_node_ttfb),
        "e2e_latency": _rounded(turn.e2e_latency),
        "targets": dict(turn.targets),
        "done": turn.done,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
