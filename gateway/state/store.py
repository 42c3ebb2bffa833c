"""Store: what replicas of the gateway share. Nothing it is told keeps a request waiting: it is sent later, or not at all.

    store = open_store(os.environ.get("REDIS_URL"))
    task = asyncio.create_task(store.run(Replica(export, merge, forget, ejected)))    # until it is cancelled
    store.ejected(Ejection("chat", "openai/gpt-4o-mini", loop.time() + 5.0, "3 failures"))

Routing stays free of I/O, and the store of routing: the link between both is four plain callables. Moments are those of
the loop's clock, on both sides; what travels between hosts is in the store's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

SEPARATOR = "\x1f"
"""Between the route and the target of a key; what else a key of sums holds is for routing to know."""

Sums = Mapping[str, Sequence[float]]
"""Decayed sums by key. They hold ages in seconds and no moments, so that they mean the same on every host."""

State = Literal["alone", "joining", "shared", "local"]
"""`alone`: there is nothing to share with; `joining`: not reached yet; `local`: out of reach, the gateway goes on alone."""


def key_of(route: str, target: str) -> str:
    return f"{route}{SEPARATOR}{target}"


@dataclass(frozen=True, slots=True)
class Held:
    """Where a call is. `replica`: the name of who holds it; `owner`: the id of its caller's key, if it has one; `url`: where
    the replica says it is reached, if it does."""

    replica: str
    owner: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Ejection:
    """`until`: a moment of the loop's clock. `reason`: a few words of ours."""

    route: str
    target: str
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Replica:
    """This gateway's routing as the store sees it; called on the event loop, and quick.

    `export()`: our own sums, never those that were merged, so that nothing is counted twice.
    `merge(replica, sums, age)`: another's, `age` seconds old; they replace what it said before. May raise ValueError.
    `forget(replica)`: it has not been heard for a while.
    `ejected(ejection)`: by another; of several for one target the latest deadline counts.
    """

    export: Callable[[], Sums]
    merge: Callable[[str, Sums, float], None]
    forget: Callable[[str], None]
    ejected: Callable[[Ejection], None]


NOBODY = Replica(dict, lambda replica, sums, age: None, lambda replica: None, lambda ejection: None)
"""Has nothing to say, and hears nothing."""


class Directory(Protocol):
    """Which replica holds which call."""

    def register(self, call_id: str, owner: str | None = None) -> None:
        """The call is held here: the others are told soon, and again and again until `unregister`."""

    def unregister(self, call_id: str) -> None: ...

    async def find(self, call_id: str) -> Held | None:
        """The replica that holds the call; None where that cannot be said at once. Not for our own calls."""


class Peers(Protocol):
    """The other workers behind the same port."""

    async def ask(self, what: str) -> Sequence[bytes]:
        """Their answers, in no order; without those of workers that do not answer soon."""


class Store(Directory, Protocol):
    @property
    def state(self) -> State: ...

    async def run(self, replica: Replica) -> None:
        """Share until cancelled. Then take back what was said, and close every connection."""

    def ejected(self, ejection: Ejection) -> None:
        """By this replica; the others are told at once. Not for those heard of others."""
