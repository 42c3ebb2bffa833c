"""Prices: what a target's use costs, in US dollars. Pure, but for reading LiteLLM's table of prices.

Nobody's price is guessed: what has none costs `None`, which is told as unknown and never as nothing.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.contract.events import Usage
from gateway.contract.weights import PRICES

MILLION = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for one token of each sort, for a second of audio, for a character; None where nobody says.

    What has no price of its own has that of `input` or `output`. `beyond`: other prices for prompts of more tokens than that.
    """

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    image_input: float | None = None
    second: float | None = None
    character: float | None = None
    beyond: tuple[tuple[int, Price], ...] = ()

    def cost(self, usage: Usage) -> float | None:
        """None where something was used that has no price, or where nobody says what was used."""
        for most, price in reversed(self.beyond):
            if usage.input_tokens > most:
                return price.cost(usage)
        if usage.input_tokens + usage.output_tokens and self.input is not None:
            return self._tokens(usage, self.input)
        if usage.characters and self.character is not None:
            return usage.characters * self.character
        if usage.seconds and self.second is not None:
            return usage.seconds * self.second
        return 0.0 if self == FREE else None

    def _tokens(self, usage: Usage, input: float) -> float | None:
        apart = (
            (usage.cached_tokens, self.cached),
            (usage.cache_write_tokens, self.cache_write),
            (usage.audio_input_tokens, self.audio_input),
            (usage.image_input_tokens, self.image_input),
        )
        plain = usage.input_tokens - sum(tokens for tokens, _ in apart)
        total = max(0, plain) * input + sum(tokens * (input if own is None else own) for tokens, own in apart)
        if usage.output_tokens:
            if self.output is None:
                return None
            written = ((usage.reasoning_tokens, self.reasoning), (usage.audio_output_tokens, self.audio_output))
            plain = usage.output_tokens - sum(tokens for tokens, _ in written)
            total += max(0, plain) * self.output
            total += sum(tokens * (self.output if own is None else own) for tokens, own in written)
        return total


FREE = Price(0.0, 0.0, second=0.0, character=0.0)
"""Of models that run on this machine."""

_FIELDS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "character": "input_cost_per_character",
}
_MEMBER = re.compile(r"\s*:\s*(?=\{)")
_BEYOND = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


class Table:
    """LiteLLM's table of prices, read where it is asked. `text`: its JSON; empty where it is not to be had."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    def __bool__(self) -> bool:
        return bool(self._text)

    def price(self, name: str) -> Price | None:
        """Of the model that the table calls so."""
        row = self._row(name)
        return None if row is None else _price(row)

    def find(self, provider: str, module: str, model: str) -> Price | None:
        """Of a target. Its bare name counts only where the table's row is of that provider."""
        for name in (f"{provider}/{model}", f"{module}/{model}"):
            if (price := self.price(name)) is not None:
                return price
        row = self._row(model)
        owner = row.get("litellm_provider") if row is not None else None
        if row is not None and (owner in (provider, module) or module == "litellm"):
            return _price(row)
        return None

    def _row(self, name: str) -> Mapping[str, object] | None:
        """The table is 3 MB, of which a gateway needs a few rows: it is searched, and never held as objects."""
        key = json.dumps(name)
        at = self._text.find(key)
        while at >= 0:
            begins = _MEMBER.match(self._text, at + len(key))
            if begins is not None:
                try:
                    row, _ = json.JSONDecoder().raw_decode(self._text, begins.end())
                except ValueError:
                    return None
                if "litellm_provider" in row:
                    return dict(row)
            at = self._text.find(key, at + 1)
        return None


def read_table(own: Path | None = None) -> Table:
    """`own`: a file in LiteLLM's form; else that of an installed LiteLLM, which is not imported; else the pulled one."""
    for path in filter(None, (own, _bundled(), PRICES.path())):
        try:
            return Table(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return Table()


def _bundled() -> Path | None:
    spec = importlib.util.find_spec("litellm")
    return Path(spec.origin).parent / Path(PRICES.member).name if spec is not None and spec.origin else None


def _price(row: Mapping[str, object]) -> Price | None:
    """None for a row that says nothing of cost."""
    prices = {ours: _number(row.get(theirs)) for ours, theirs in _FIELDS.items()}
    speaks = row.get("mode") == "audio_speech"
    prices["second"] = _number(row.get("output_cost_per_second" if speaks else "input_cost_per_second"))
    if all(each is None for each in prices.values()):
        return None
    return Price(**prices, beyond=tuple(_beyond(row, prices)))


def _beyond(row: Mapping[str, object], usual: Mapping[str, float | None]) -> Iterator[tuple[int, Price]]:
    for thousands in sorted(int(found[1]) for name in row if (found := _BEYOND.fullmatch(name))):
        end = f"_above_{thousands}k_tokens"
        own = {ours: _number(row.get(theirs + end)) for ours, theirs in _FIELDS.items()}
        known = {**usual, **{name: each for name, each in own.items() if each is not None}}
        yield thousands * 1000, Price(**known, beyond=())


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None
