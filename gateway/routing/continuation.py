"""Continuation: a chat answer whose target died in the middle is gone on with by another. Pure.

The next target is handed what was delivered as its own earlier turn, followed by an instruction to go on (some reject a
prefill, none rejects this). What it repeats of the delivered text is trimmed; an answer that neither goes on nor repeats is
a second beginning, and no answer may have two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest

GO_ON = (
    "Your previous message was cut off by a connection error. Go on exactly where it stopped. Do not repeat any of it, "
    "do not comment on the interruption, do not start again: write only what comes next."
)
ENOUGH = 24
"""Characters of the continuation that are looked at before it is judged."""
OVERLAP = 4
"""Characters at the seam that are a repetition, and not a coincidence."""
AGAIN = 8
"""Characters with which an answer began and that, in the middle of a sentence, are its beginning once more."""
_ENDS = frozenset(".!?:;\n。！？।…\"')]}>`*_")


class Diverged(Exception):
    """The continuation neither goes on nor repeats what was delivered."""


def going_on(request: ChatRequest, delivered: str, deltas: int) -> ChatRequest:
    """The request for the next target. `deltas`: how many pieces were delivered, about as many tokens."""
    messages = (*request.messages, Message.of("assistant", delivered), Message.of("user", GO_ON))
    left = None if request.max_tokens is None else max(1, request.max_tokens - deltas)
    body = _body(request.body, delivered, deltas) if request.dialect in ("chat", "messages") else None
    return replace(request, messages=messages, max_tokens=left, body=body)


def may_go_on(request: ChatRequest) -> bool:
    """Whether an answer to it can be spliced at all: not several at once, not one that must be valid JSON,
    not one that depends on what only its body says."""
    body = request.body or {}
    if request.dialect != "chat" and request.untyped:
        return False  # the next target is told in typed fields, and they do not say it all
    if request.n != 1 or request.logprobs or request.format is not None:
        return False
    several = body.get("n") not in (None, 1)
    return not several and not body.get("logprobs") and not body.get("response_format")


def _body(body: Mapping[str, object] | None, delivered: str, deltas: int) -> Mapping[str, object] | None:
    if body is None:
        return None
    given = body.get("messages")
    messages = [*given] if isinstance(given, list) else []
    messages += [{"role": "assistant", "content": delivered}, {"role": "user", "content": GO_ON}]
    changed: dict[str, object] = {**body, "messages": messages}
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool):
            changed[name] = max(1, limit - deltas)
    return changed


class Splice:
    """Joins the continuation to what was delivered. `feed` every piece, then `end`; both return what to hand on."""

    def __init__(self, delivered: str) -> None:
        self._delivered = delivered
        self._held = ""
        self._joined = False

    def feed(self, text: str) -> str:
        """Raises Diverged."""
        if self._joined:
            return text
        self._held += text
        if len(self._held) < ENOUGH or self._repeats_so_far():
            return ""
        return self._join()

    def end(self) -> str:
        """The continuation is over. Raises Diverged."""
        return "" if self._joined else self._join()

    def _repeats_so_far(self) -> bool:
        held, delivered = self._held.lstrip(), self._delivered.lstrip()
        if len(held) <= len(delivered) and delivered.startswith(held):
            return True
        return any(delivered.startswith(held, at) for at in _places(delivered, held[:OVERLAP]))

    def _join(self) -> str:
        self._joined = True
        held, delivered = self._held, self._delivered
        self._held = ""
        bare, whole = held.lstrip(), delivered.lstrip()
        if whole.startswith(bare):
            return ""  # it said again what was said, and no more
        if bare.startswith(whole):
            return bare[len(whole) :]
        for at in _places(delivered, bare[:OVERLAP]):
            if bare.startswith(tail := delivered[at:]):
                return bare[len(tail) :]
        # Lists and code do begin lines alike, so after an end more must be the same.
        same = ENOUGH if delivered[-1:] in _ENDS else AGAIN
        if len(whole) >= same and bare.startswith(whole[:same]):
            raise Diverged
        return self._seam(held)

    def _seam(self, held: str) -> str:
        last, first = self._delivered.rstrip(" \t")[-1:], held[:1]
        if last in _ENDS or first.isspace() or not first.isalpha():
            return held
        if first.isupper():
            raise Diverged
        apart = self._delivered[-1:].isspace() or not (last.isalnum() or last == ",")
        return held if apart else " " + held


def _places(text: str, start: str) -> list[int]:
    """Where `start` stands in the last 400 characters of `text`, the longest tail first."""
    if len(start) < OVERLAP:
        return []
    places, at = [], text.find(start, max(0, len(text) - 400))
    while at >= 0:
        places.append(at)
        at = text.find(start, at + 1)
    return places
