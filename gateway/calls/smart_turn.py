"""SmartTurn: does what the caller said sound finished? By smart-turn v3.2 in a worker process."""

from __future__ import annotations

from contextlib import aclosing
from importlib.util import find_spec

from gateway.contract.errors import Unavailable
from gateway.contract.weights import SMART_TURN
from gateway.contract.worker import Worker

SECONDS = 8
"""How much of the end of the turn the model looks at."""
BYTES = SECONDS * 16_000 * 2


class SmartTurn:
    """Shared by all calls. Starts its worker with the first question, or with `warm`."""

    def __init__(self) -> None:
        engine = "gateway.calls.smart_turn_engine:open_engine"
        self._worker = Worker("smart-turn", engine, {"path": str(SMART_TURN.path())}, limit=32)

    def asleep(self) -> str | None:
        """Why it cannot be asked here, with what to do about it; None if it can."""
        if find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: pip install 'trunkline[local]'"
        if not SMART_TURN.present():
            return "weights are missing; run: trunkline models pull"
        return None

    async def warm(self) -> None:
        await self.complete(bytes(3200))

    async def complete(self, pcm16k: bytes) -> float:
        """Probability, 0 to 1, that the turn in this audio (s16le, mono, 16 kHz) is finished: about 40 ms of one core.

        Raises Unavailable. Cancelling it aborts the question.
        """
        if reason := self.asleep():
            raise Unavailable(reason, "smart-turn")
        finished: float | None = None
        async with aclosing(self._worker.run({}, pcm16k[-BYTES:])) as pieces:
            async for piece in pieces:
                finished = piece.fields["finished"]
        if finished is None:
            raise Unavailable("smart-turn gave no answer", "smart-turn")
        return finished

    async def aclose(self) -> None:
        await self._worker.aclose()
