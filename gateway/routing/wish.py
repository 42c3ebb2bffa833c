"""Wish: what a request asks of the target that serves it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.contract.errors import BadRequest
from gateway.contract.messages import Text
from gateway.contract.requests import ChatRequest, ConverseRequest, Request, SpeakRequest, TranscribeRequest
from gateway.routing.route import Policy, Target

CHARACTERS_A_TOKEN = 4
"""Of English text; other scripts have fewer, so that a target with too small a window is asked in vain, never left out in vain."""


@dataclass(slots=True)  # not frozen, though nothing changes one: every request makes one
class Wish:
    """`language`: BCP 47; `region`: as the targets name theirs; `tokens`: of the prompt, estimated; `sticky`: requests with
    the same key go to the same target while it stays among the best; `unfit`: what targets said they cannot do of it."""

    language: str | None = None
    region: str | None = None
    tokens: int = 0
    sticky: str | None = None
    unfit: Mapping[Target, str] = field(default_factory=dict)
    param: str | None = None
    """The field that only some targets understand."""


ANYTHING = Wish()
_NONE: Mapping[Target, str] = {}


class NobodyFits(BadRequest):
    """Every target of the route is ruled out by what the request asks for."""


def wish_of(
    request: Request, region: str | None = None, sticky: str | None = None, unfit: Mapping[Target, str] = _NONE
) -> Wish:
    """What the request itself says, and what came beside it."""
    match request:
        case ChatRequest():
            param = request.untyped[0] if request.untyped else None
            return Wish(None, region, prompt_tokens(request), sticky, unfit, param)
        case TranscribeRequest() | SpeakRequest() | ConverseRequest():
            return Wish(request.language, region, 0, sticky, unfit)
    return Wish(None, region, 0, sticky, unfit)


def prompt_tokens(request: ChatRequest) -> int:
    length = 0
    for message in request.messages:
        for part in message.parts:
            if type(part) is Text:
                length += len(part.text)
    return length // CHARACTERS_A_TOKEN


def why_not(target: Target, wish: Wish, policy: Policy) -> str | None:
    """Why the target cannot serve it; None if it can."""
    if wish.unfit and (cannot := wish.unfit.get(target)) is not None:
        return cannot
    if wish.region is not None and target.region != wish.region:
        return f"it is in {target.region or 'no region'}, not in {wish.region}"
    if wish.language is not None and target.languages and not speaks(target.languages, wish.language):
        return f"it does not speak {wish.language}"
    if target.context is not None and wish.tokens > target.context:
        return f"its window of {target.context} tokens is smaller than the prompt of about {wish.tokens}"
    if policy.max_price is not None and target.price is not None and target.price > policy.max_price:
        return f"its price of {target.price:g} is above {policy.max_price:g}"
    return None


def speaks(languages: Sequence[str], wanted: str) -> bool:
    """`en` is spoken by who speaks `en-IN`, and `en-IN` by who speaks `en`; `en-IN` not by who speaks only `en-US`."""
    tag = wanted.lower().replace("_", "-")
    base = tag.partition("-")[0]
    for each in languages:
        known = each.lower()
        if known in (tag, base) or (tag == base and known.partition("-")[0] == base):
            return True
    return False


def nobody_fits(route: str, targets: Sequence[Target], wish: Wish, policy: Policy) -> NobodyFits:
    """The error that says so, with what there is instead."""
    reasons = "; ".join(f"{target}: {why_not(target, wish, policy)}" for target in targets)
    known: list[str] = []
    if wish.language is not None:
        known = sorted({language for target in targets for language in target.languages})
    told = f" (languages of this route: {', '.join(known)})" if known else ""
    param = "language" if known or _language_lacks(wish) else wish.param
    return NobodyFits(f"no target of route {route!r} can serve this request{told}: {reasons}", param)


def _language_lacks(wish: Wish) -> bool:
    """Whether a target said itself that it does not know the language."""
    return wish.language is not None and any(wish.language in reason for reason in wish.unfit.values())
