"""Headers that answers have in common."""

from __future__ import annotations

from gateway.routing.engine import Answer

SSE = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
)


def answered_by(answer: Answer) -> tuple[tuple[bytes, bytes], ...]:
    """Who answered, and after how many attempts, this one included."""
    return (
        (b"x-trunkline-target", str(answer.target).encode("ascii", "backslashreplace")),
        (b"x-trunkline-attempts", b"%d" % (len(answer.attempts) + 1)),
    )
