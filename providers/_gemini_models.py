"""What Gemini's models differ in, as far as a request must know it, read off their names. Pure.

A name that tells no generation (an alias such as gemini-flash-latest, another server's) is taken for a recent one.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.contract.requests import Thinking

_GENERATION = re.compile(r"gemini-(\d+(?:\.\d+)?)")
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
"""Tokens: what Google's own OpenAI endpoint makes of reasoning_effort."""
LEAST_OF_PRO = 128
"""Tokens: gemini-2.5-pro cannot be told not to think at all."""


def generation(model: str) -> float:
    found = _GENERATION.search(model)
    return float(found[1]) if found else 3.0


def thinks(model: str) -> bool:
    return generation(model) >= 2.5


def seals_calls(model: str) -> bool:
    """Refuses a call of its own that comes back without the seal of the thought behind it; takes pictures in tools' results,
    and tools and a format in one request."""
    return generation(model) >= 3


def thinking_config(model: str, thinking: Thinking) -> dict[str, Any]:
    """Empty where there is nothing to say: levels since generation 3, budgets before. An exact budget is one on both."""
    effort, pro = thinking.effort, "pro" in model
    shown = thinking.shown if thinking.shown is not None else effort != "none"
    config: dict[str, Any] = {"includeThoughts": True} if shown else {}
    if not thinks(model):
        return {}
    if thinking.budget is not None:
        return {**config, "thinkingBudget": thinking.budget}
    levels = generation(model) >= 3
    if thinking.adaptive and not levels:
        return {**config, "thinkingBudget": -1}
    if effort is None:
        return config
    if not levels:
        least = LEAST_OF_PRO if pro else 0
        return {**config, "thinkingBudget": least if effort == "none" else _BUDGETS[effort]}
    least_level = "LOW" if pro else "MINIMAL"
    level = {"none": least_level, "minimal": least_level, "xhigh": "HIGH"}.get(effort, effort.upper())
    return {**config, "thinkingLevel": level}
