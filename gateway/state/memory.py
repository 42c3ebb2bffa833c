"""MemoryStore: one gateway alone, which has nobody to share with."""

from __future__ import annotations

from gateway.state.store import Ejection, Held, Replica, State


class MemoryStore:
    @property
    def state(self) -> State:
        return "alone"

    async def run(self, replica: Replica) -> None:
        """There is nothing to do."""

    def ejected(self, ejection: Ejection) -> None: ...

    def register(self, call_id: str, owner: str | None = None) -> None: ...

    def unregister(self, call_id: str) -> None: ...

    async def find(self, call_id: str) -> Held | None:
        return None
