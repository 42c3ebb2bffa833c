"""What a call says over its two channels: (label, messages) in order."""

from __future__ import annotations

from typing import Any

Scene = list[tuple[str, list[dict[str, Any]]]]
TARGETS = {"stt": "local_stt/moonshine", "llm": "local_llm/smollm2", "tts": "local_tts/joe"}


def heard(item: str, text: str, previous: str | None = None) -> Scene:
    """The caller speaks: a partial that is revised, then the final transcript."""
    partial = " ".join(text.split()[:3])
    return [
        ("oai-events", [{"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": 0}]),
        ("gateway", [{"type": "partial", "text": partial.replace("k", "g")}, {"type": "partial", "text": partial}]),
        (
            "oai-events",
            [
                {"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": 900},
                {"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": previous},
                {
                    "type": "conversation.item.input_audio_transcription.completed",
                    "item_id": item,
                    "content_index": 0,
                    "transcript": text,
                    "usage": {"type": "duration", "seconds": 1},
                },
            ],
        ),
    ]


def answered(item: str, response: str, after: str, text: str) -> Scene:
    """The agent speaks: deltas, the playout, the end of the transcript."""
    added = {"id": item, "type": "message", "role": "assistant", "content": []}
    words = [{"delta": f"{word} "} for word in text.split()]
    delta = {"type": "response.output_audio_transcript.delta", "item_id": item, "response_id": response}
    return [
        (
            "oai-events",
            [
                {"type": "response.created", "response": {"id": response}},
                {"type": "response.output_item.added", "response_id": response, "output_index": 0, "item": added},
                {"type": "conversation.item.added", "item": added, "previous_item_id": after},
                {"type": "output_audio_buffer.started", "response_id": response},
                *({**delta, **word} for word in words),
                {**delta, "type": "response.output_audio_transcript.done", "transcript": text},
                {"type": "response.done", "response": {"id": response, "status": "completed", "status_details": None}},
            ],
        )
    ]


def silent(response: str) -> Scene:
    return [("oai-events", [{"type": "output_audio_buffer.stopped", "response_id": response}])]


def timed(turn: str, start: float, stretch: float = 1.0, done: bool = True, until: int = 9) -> Scene:
    """A turn's timeline, its first `until` marks known."""
    marks = {
        "last_speech_rtp": 0.0,
        "vad_stop": 0.182,
        "turn_decided": 0.263,
        "stt_final": 0.241,
        "llm_first_token": 0.338,
        "first_clause": 0.427,
        "tts_first_byte": 0.581,
        "first_audible_sample": 0.584,
        "first_sent": 0.603,
    }
    known = {name: start + at * stretch for name, at in list(marks.items())[:until]}
    delays: dict[str, float | None] = {
        "transcription_delay": 0.241 * stretch if "stt_final" in known else None,
        "end_of_turn_delay": 0.263 * stretch if "turn_decided" in known else None,
        "llm_node_ttft": 0.075 * stretch if "llm_first_token" in known else None,
        "tts_node_ttfb": 0.154 * stretch if "tts_first_byte" in known else None,
        "e2e_latency": 0.603 * stretch if "first_sent" in known else None,
    }
    return [
        (
            "gateway",
            [{"type": "turn", "turn": {"id": turn, "marks": known, **delays, "targets": TARGETS, "done": done}}],
        )
    ]


def two_turns() -> Scene:
    """An answered turn; another whose answer is interrupted."""
    first, second = "Could you tell me what time you close on Saturday?", "I would like to book an appointment."
    return [
        (
            "gateway",
            [{"type": "call", "call_id": "rtc_1", "route": "agent", "mode": "cascaded", "modes": ["cascaded"]}],
        ),
        *heard("item_1", first),
        *timed("turn_1", 4.2, until=4, done=False),
        *answered("item_2", "resp_1", "item_1", "We close at six on Saturdays, and we are open again on Monday."),
        *timed("turn_1", 4.2),
        *silent("resp_1"),
        *heard("item_3", second, "item_2"),
        *timed("turn_2", 11.5, 1.18),
        *answered("item_4", "resp_2", "item_3", "Of course. Which doctor would you like to see, and on what day?"),
        ("oai-events", [{"type": "output_audio_buffer.cleared", "response_id": "resp_2"}]),
        (
            "gateway",
            [{"type": "interrupted", "turn": "turn_2", "heard": "Of course. Which doctor would", "estimated": True}],
        ),
    ]


def third() -> Scene:
    """A turn that is still being answered, on another target than the first choice."""
    return [
        *heard("item_5", "With the dentist, please, on Tuesday morning.", "item_4"),
        ("gateway", [{"type": "rerouted", "stage": "llm", "target": "local_llm/smollm2", "reason": "groq timed out"}]),
        *timed("turn_3", 19.0, 0.92),
        *answered("item_6", "resp_3", "item_5", "Tuesday at nine is free. Shall I put you down for that?"),
    ]
