"""Exchange: what this replica says to the others, and what it makes of what they say. Pure: bytes and moments are handed in."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.state.shared_clock import SharedClock
from gateway.state.store import SEPARATOR, Ejection, Replica, key_of
from gateway.state.wire import LARGEST, Garbled, News, Out, Statement, decode_news, decode_statement, encode

log = logging.getLogger(__name__)

LONGEST = 300.0
"""Seconds that a target can be ejected for by another replica: what is out for good here may be well there."""
SKEW = 5.0
"""Seconds that another's clock may be wrong. It is Redis' clock as estimated there, so a tenth of one would be much."""
PEERS = 64
"""Replicas that are listened to."""
SAME = 0.05
"""Seconds by which two statements of one deadline may differ."""
_NOTED = 64


@dataclass(slots=True)
class _Peer:
    at: float  # of its latest statement, by Redis' clock
    heard: float


class Exchange:
    """`me`: this replica's name; `forget`: seconds after which one that says nothing new is forgotten."""

    def __init__(self, replica: Replica, me: str, clock: SharedClock, forget: float) -> None:
        self._replica, self._me, self._clock, self._forget = replica, me, clock, forget
        self._own: dict[str, tuple[float, str]] = {}
        self._handed: dict[str, float] = {}  # the latest deadline heard of others, by key
        self._peers: dict[str, _Peer] = {}
        self._noted: set[str] = set()  # what was complained of already

    def eject(self, ejection: Ejection, now: float) -> None:
        """By this replica: part of what it says until the deadline has passed."""
        key = key_of(ejection.route, ejection.target)
        until = min(ejection.until, now + LONGEST)
        if until > max(now, self._own.get(key, (now, ""))[0]):
            self._own[key] = (until, ejection.reason)

    def news(self, ejection: Ejection, now: float) -> bytes:
        until = min(ejection.until, now + LONGEST)
        out = {key_of(ejection.route, ejection.target): (self._clock.shared(until), ejection.reason)}
        return encode(News(self._me, out))

    def statement(self, now: float) -> bytes:
        """All that is to be said now. One who missed the news finds it here."""
        self._own = {key: entry for key, entry in self._own.items() if entry[0] > now}
        out = {key: (self._clock.shared(until), reason) for key, (until, reason) in self._own.items()}
        said = encode(Statement(self._clock.shared(now), self._replica.export(), out))
        if len(said) > LARGEST:
            self._note("sums", f"the sums of this replica are not shared: {len(said)} bytes, {LARGEST} are the most")
            said = encode(Statement(self._clock.shared(now), {}, out))
        return said

    def read(self, peer: str, raw: bytes, now: float) -> None:
        """A statement, as it was found; the same one again says nothing."""
        try:
            said = decode_statement(raw)
            known = self._peers.get(peer)
            if peer == self._me or (known is not None and said.at == known.at):
                return
            age = self._clock.shared(now) - said.at
            if not -SKEW < age < self._forget or (known is None and len(self._peers) >= PEERS):
                return
            self._peers[peer] = _Peer(said.at, now)
            self._take(said.out, now)
            self._replica.merge(peer, said.sums, max(0.0, age))
        except (Garbled, ValueError):
            self._note(peer, f"what replica {peer} says is ignored: not understood")

    def hear(self, raw: bytes, now: float) -> None:
        """News, as it came."""
        try:
            news = decode_news(raw)
            if news.by != self._me:
                self._take(news.out, now)
        except Garbled:
            self._note("news", "news of another replica are ignored: not understood")

    def forget_silent(self, now: float) -> None:
        for name in [name for name, peer in self._peers.items() if now - peer.heard > self._forget]:
            del self._peers[name]
            self._replica.forget(name)
        self._handed = {key: until for key, until in self._handed.items() if until > now}

    def _take(self, out: Out, now: float) -> None:
        if any(self._clock.local(until) > now + LONGEST + SKEW for until, _ in out.values()):
            raise Garbled
        for key, (shared, reason) in out.items():
            until = self._clock.local(shared)
            if until > max(now, self._handed.get(key, now) + SAME):
                self._handed[key] = until
                route, target = key.split(SEPARATOR)
                self._replica.ejected(Ejection(route, target, until, reason))

    def _note(self, about: str, line: str) -> None:
        if about not in self._noted and len(self._noted) < _NOTED:
            self._noted.add(about)
            log.warning("%s", line)
