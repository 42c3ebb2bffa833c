"""Ledger: what every attempt used and cost, and what that makes of each target and of each key.

Failed attempts of which the upstream counted nothing cost nothing; one that gave content and of which nobody says what was
used is `unpriced`, as is one of a target without a price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import orjson

from gateway.contract.events import Usage
from gateway.telemetry.prices import Price
from gateway.telemetry.sample import Outcome, Sample

_NOTHING = Usage()
_UNUSED: frozenset[Outcome] = frozenset(
    {"unavailable", "timeout", "rate_limited", "unauthorized", "out_of_quota", "context_too_long", "refused"}
)
"""Ends before any content: where the upstream counts nothing, nothing was used."""
MOST_PAYERS = 10_000


@dataclass(slots=True)
class Account:
    """Sums since the gateway started. `unpriced`: attempts of which nobody knows the cost; `usd` is without them."""

    attempts: int = 0
    usd: float = 0.0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0

    def add(self, sample: Sample) -> None:
        usage = sample.usage
        self.attempts += 1
        if sample.cost is None:
            self.unpriced += 1
        else:
            self.usd += sample.cost
        if usage is _NOTHING:
            return
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.audio_input_tokens += usage.audio_input_tokens
        self.audio_output_tokens += usage.audio_output_tokens
        self.image_input_tokens += usage.image_input_tokens
        self.characters += usage.characters
        self.seconds += usage.seconds

    def join(self, other: Account) -> None:
        for name in Account.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Ledger:
    """`prices`: as they are now (`renew` changes them). `sample` is a sink of the recorder. `targets`: by route and target;
    `payers`: by key id, None for requests without one. `payer`: whose request the current task works on."""

    def __init__(self, prices: Mapping[str, Price], payer: Callable[[], str | None] = lambda: None) -> None:
        self._prices, self._payer = prices, payer
        self.targets: defaultdict[tuple[str, str], Account] = defaultdict(Account)
        self.payers: defaultdict[str | None, Account] = defaultdict(Account)

    def renew(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices

    def cost(self, target: str, usage: Usage, outcome: Outcome = "ok") -> float | None:
        """US dollars; None where nobody knows."""
        if outcome in _UNUSED and usage == _NOTHING:
            return 0.0
        price = self._prices.get(target)
        return None if price is None else price.cost(usage)

    def priced(self, sample: Sample) -> Sample:
        """The sample with what it cost, and whom."""
        sample.cost, sample.payer = self.cost(sample.target, sample.usage, sample.outcome), self._payer()
        return sample

    def copy(self) -> Ledger:
        """The sums alone, to add others' to."""
        copied = Ledger({})
        copied.add(self.encode())
        return copied

    def encode(self) -> bytes:
        """The sums, for `add`."""
        return orjson.dumps(
            {
                "targets": [[*key, asdict(account)] for key, account in self.targets.items()],
                "payers": [[payer, asdict(account)] for payer, account in self.payers.items()],
            }
        )

    def add(self, encoded: bytes) -> None:
        """Another worker's sums."""
        sums = orjson.loads(encoded)
        for route, target, account in sums.get("targets", ()):
            self.targets[route, target].join(Account(**account))
        for payer, account in sums.get("payers", ()):
            self.payers[payer].join(Account(**account))

    def sample(self, sample: Sample) -> None:
        if sample.part == "turn":
            return
        self.targets[sample.route, sample.target].add(sample)
        if sample.payer in self.payers or len(self.payers) < MOST_PAYERS:
            self.payers[sample.payer].add(sample)
