"""Further scenarios for the routing simulator, none of them in its own list: what the parameters must also be good at.

    python loadtests/routing_scenarios.py ../shared/routing_sim [loadtests.routing_policy:make] [scenario ...]

Each is a function from a seed to (targets, arrivals), as in the simulator's `scenarios.py`. Prints the simulator's own
report for the baselines and for the policy. The simulator lives outside the repository, hence the path.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Scenario = Callable[[int], tuple[list[Any], list[float]]]


class World:
    """The scenarios, over the simulator's own `Target`, `Regime` and `poisson`."""

    def __init__(self, sim: Any, scenarios: Any) -> None:
        self.target, self.regime, self.poisson = sim.Target, sim.Regime, sim.poisson
        self.measured, self.azure = scenarios.measured, scenarios.azure

    def _steady(self, name: str, median: float, **how: float) -> Any:
        return self.target(name, [self.regime(0, median, **how)])

    def _phases(self, name: str, *phases: tuple[float, float], **how: float) -> Any:
        return self.target(name, [self.regime(at, median, **how) for at, median in phases])

    def one(self, seed: int) -> tuple[list[Any], list[float]]:
        return [self._steady("a", 0.4)], self.poisson(5, 600, seed)

    def two(self, seed: int) -> tuple[list[Any], list[float]]:
        """Two targets that change places."""
        return [self._phases("a", (0, 0.3), (500, 0.7)), self._phases("b", (0, 0.5), (800, 0.3))], self.poisson(
            3, 1200, seed
        )

    def equals(self, seed: int) -> tuple[list[Any], list[float]]:
        return [self._steady(n, 0.4) for n in "abcd"], self.poisson(5, 900, seed)

    def twenty(self, seed: int) -> tuple[list[Any], list[float]]:
        """Twenty targets, a third of which change at some moment."""
        rng = random.Random(seed)
        targets = []
        for i in range(20):
            phases = [(0.0, rng.uniform(0.3, 1.5))]
            if rng.random() < 0.35:
                phases.append((rng.uniform(200, 1000), rng.uniform(0.25, 1.5)))
            targets.append(self._phases(f"t{i}", *phases))
        return targets, self.poisson(5, 1200, seed)

    def drift(self, seed: int) -> tuple[list[Any], list[float]]:
        """One target slows down by 2 % every ten seconds, then comes back as slowly."""
        up = [(10.0 * i, 0.3 * 1.02**i) for i in range(60)]
        down = [(600 + 10.0 * i, 0.3 * 1.02 ** (60 - i)) for i in range(60)]
        return [self._phases("a", *up, *down), self._steady("b", 0.5), self._steady("c", 0.7)], self.poisson(
            5, 1200, seed
        )

    def flapping_errors(self, seed: int) -> tuple[list[Any], list[float]]:
        """The best target answers 500 for thirty seconds of every minute."""
        phases = [
            self.regime(30.0 * i, 0.3, error_p=1.0 if i % 2 else 0.002, error_after=0.2 if i % 2 else 0.15)
            for i in range(40)
        ]
        return [self.target("a", phases), self._steady("b", 0.5), self._steady("c", 0.8)], self.poisson(5, 1200, seed)

    def flapping_slow(self, seed: int) -> tuple[list[Any], list[float]]:
        return [
            self._phases("a", *((45.0 * i, 1.5 if i % 2 else 0.3) for i in range(26))),
            self._steady("b", 0.5),
            self._steady("c", 0.8),
        ], self.poisson(5, 1200, seed)

    def correlated_outage(self, seed: int) -> tuple[list[Any], list[float]]:
        """Two of three fail together: the same cloud."""
        down = self.regime(300, 0.3, error_p=0.95, error_after=0.3)
        return [
            self.target("a", [self.regime(0, 0.3), down, self.regime(500, 0.3)]),
            self.target("b", [self.regime(0, 0.35), down, self.regime(500, 0.35)]),
            self._steady("c", 0.8),
        ], self.poisson(5, 1000, seed)

    def partial_errors(self, seed: int) -> tuple[list[Any], list[float]]:
        """The fastest fails one request in six, after a second."""
        return [
            self._steady("a", 0.3, error_p=0.17, error_after=1.0),
            self._steady("b", 0.45),
            self._steady("c", 0.8),
        ], self.poisson(5, 900, seed)

    def blackout(self, seed: int) -> tuple[list[Any], list[float]]:
        """The best target falls silent altogether for two minutes."""
        return [
            self.target("a", [self.regime(0, 0.3), self.regime(400, 0.3, hang_p=1.0), self.regime(520, 0.3)]),
            self._steady("b", 0.5),
            self._steady("c", 0.6),
        ], self.poisson(5, 1000, seed)

    def all_slow(self, seed: int) -> tuple[list[Any], list[float]]:
        """Everything takes six times as long for three minutes."""
        return [self._phases(n, (0, m), (400, 6 * m), (580, m)) for n, m in (("a", 0.3), ("b", 0.4), ("c", 0.5))], (
            self.poisson(5, 1000, seed)
        )

    def bimodal(self, seed: int) -> tuple[list[Any], list[float]]:
        """A cache that hits two times in three, against a target that is always the same."""
        return [
            self.target("a", [self.regime(0, measured=[0.2, 0.22, 0.25, 0.28, 1.8, 2.2])]),
            self._steady("b", 0.5),
            self._steady("c", 0.9),
        ], self.poisson(5, 900, seed)

    def noisy(self, seed: int) -> tuple[list[Any], list[float]]:
        return [self._steady(n, m, sigma=0.8) for n, m in (("a", 0.3), ("b", 0.4), ("c", 0.6))], self.poisson(
            5, 900, seed
        )

    def slow_models(self, seed: int) -> tuple[list[Any], list[float]]:
        """Reasoning models: seconds, not tenths."""
        return [
            self._phases("a", (0, 2.0), (500, 3.5), (900, 2.0), tail_p=0.0),
            self._steady("b", 2.6, tail_p=0.0),
            self._steady("c", 4.0, tail_p=0.0),
        ], self.poisson(2, 1500, seed)

    def quick_models(self, seed: int) -> tuple[list[Any], list[float]]:
        """Speech on the same machine: tens of milliseconds."""
        return [self._phases("a", (0, 0.03), (400, 0.12)), self._steady("b", 0.06), self._steady("c", 0.5)], (
            self.poisson(5, 900, seed)
        )

    def trickle(self, seed: int) -> tuple[list[Any], list[float]]:
        """A request every fifty seconds."""
        return [self._phases("a", (0, 0.35), (9000, 0.9)), self._steady("b", 0.5)], self.poisson(0.02, 30000, seed)

    def low_rate(self, seed: int) -> tuple[list[Any], list[float]]:
        return [self._phases("a", (0, 0.3), (1500, 1.0)), self._steady("b", 0.45), self._steady("c", 0.6)], (
            self.poisson(0.3, 4000, seed)
        )

    def high_rate(self, seed: int) -> tuple[list[Any], list[float]]:
        return [
            self.target("a", [self.regime(0, 0.3)], knee=60),
            self.target("b", [self.regime(0, 0.4), self.regime(100, 0.2)], knee=60),
            self.target("c", [self.regime(0, 0.5)], knee=100),
        ], self.poisson(60, 200, seed)

    def bursts(self, seed: int) -> tuple[list[Any], list[float]]:
        """Forty requests within two seconds, every half minute; every target slows under load."""
        rng = random.Random(seed)
        at = sorted(30.0 * burst + rng.uniform(0, 2) for burst in range(40) for _ in range(40))
        return [
            self.target("a", [self.regime(0, 0.3)], knee=10),
            self.target("b", [self.regime(0, 0.4)], knee=20),
            self.target("c", [self.regime(0, 0.6)], knee=40),
        ], at

    def bursts_flat(self, seed: int) -> tuple[list[Any], list[float]]:
        """The same bursts on targets that do not mind."""
        rng = random.Random(seed)
        at = sorted(30.0 * burst + rng.uniform(0, 2) for burst in range(40) for _ in range(40))
        return [self._steady("a", 0.3), self._steady("b", 0.5), self._steady("c", 0.8)], at

    def rpm_all(self, seed: int) -> tuple[list[Any], list[float]]:
        """Every target is limited; together they have a third more than is asked."""
        return [
            self.target(n, [self.regime(0, m)], rpm=r)
            for n, m, r in (("a", 0.3, 120), ("b", 0.5, 120), ("c", 0.8, 160))
        ], self.poisson(5, 900, seed)

    def rpm_tight(self, seed: int) -> tuple[list[Any], list[float]]:
        """One small limit on the best and one on the next."""
        return [
            self.target("a", [self.regime(0, 0.25)], rpm=30),
            self.target("b", [self.regime(0, 0.4)], rpm=100),
            self._steady("c", 0.6),
        ], self.poisson(4, 900, seed)

    def rpm_two(self, seed: int) -> tuple[list[Any], list[float]]:
        return [self.target("a", [self.regime(0, 0.3)], rpm=200), self._steady("b", 0.6)], self.poisson(5, 900, seed)

    def knee_swap(self, seed: int) -> tuple[list[Any], list[float]]:
        """Load matters, and the regimes change as well."""
        return [
            self.target("a", [self.regime(0, 0.3), self.regime(300, 0.8)], knee=25),
            self.target("b", [self.regime(0, 0.45)], knee=25),
            self.target("c", [self.regime(0, 0.7), self.regime(300, 0.3)], knee=25),
        ], self.poisson(12, 600, seed)

    def measured_small(self, seed: int) -> tuple[list[Any], list[float]]:
        """Real 7B and 13B endpoints under real arrivals."""
        names = (
            "anyscale_7b",
            "fireworks_7b",
            "together_7b",
            "lepton_7b",
            "together_13b",
            "replicate_13b",
            "bedrock_13b",
        )
        return [self.target(n, [self.regime(0, measured=self.measured(n))]) for n in names], self.azure(4000)

    def measured_slow(self, seed: int) -> tuple[list[Any], list[float]]:
        """Real endpoints with long tails; the good one leaves for five minutes."""
        away = [
            self.regime(0, measured=self.measured("bedrock_70b")),
            self.regime(300, measured=self.measured("lepton_70b")),
            self.regime(600, measured=self.measured("bedrock_70b")),
        ]
        return [
            self.target("bedrock", away),
            self.target("replicate", [self.regime(0, measured=self.measured("replicate_70b"))]),
            self.target("fireworks", [self.regime(0, measured=self.measured("fireworks_70b"))]),
            self.target("together", [self.regime(0, measured=self.measured("together_13b"))]),
        ], self.azure(4500)

    def anything(self, seed: int) -> tuple[list[Any], list[float]]:
        """Drawn at random: targets, regimes, tails, errors, silence, limits, knees, rate."""
        rng = random.Random(1000 + seed)
        length = 900.0
        targets = []
        for i in range(rng.randint(2, 8)):
            regimes, at = [], 0.0
            while at < length:
                bad = rng.random() < 0.15
                regimes.append(
                    self.regime(
                        at,
                        0.2 * 2 ** rng.uniform(0, 3),
                        sigma=rng.uniform(0.15, 0.6),
                        tail_p=rng.choice([0.0, 0.01, 0.04]),
                        error_p=rng.choice([0.3, 1.0]) if bad and rng.random() < 0.5 else 0.005,
                        hang_p=rng.choice([0.1, 0.5]) if bad and rng.random() < 0.5 else 0.0,
                    )
                )
                at += rng.expovariate(1 / 500)
            targets.append(
                self.target(
                    f"t{i}",
                    regimes,
                    rpm=rng.choice([None, None, None, 150]) if i else None,
                    knee=rng.choice([None, None, 30]),
                )
            )
        return targets, self.poisson(rng.choice([1.0, 4.0, 10.0]), length, seed)

    def all(self) -> dict[str, Scenario]:
        named: dict[str, Scenario] = {
            name: getattr(self, name) for name, member in vars(World).items() if callable(member) and name[0] != "_"
        }
        named.pop("all")
        anything = named.pop("anything")
        for k in range(4):
            named[f"anything_{k}"] = partial(_shifted, anything, 10 * k)
        return named


def _shifted(scenario: Scenario, by: int, seed: int) -> tuple[list[Any], list[float]]:
    return scenario(seed + by)


def main(folder: str, policy: str | None, only: list[str]) -> None:
    sys.path[:0] = [str(Path(folder).resolve()), str(Path.cwd())]
    run, sim, scenarios, baselines = (importlib.import_module(n) for n in ("run", "sim", "scenarios", "baselines"))
    named = {k: v for k, v in World(sim, scenarios).all().items() if not only or k in only}
    if policy is None or not only:
        for title, baseline in baselines.BASELINES.items():
            run.report(title, run.score(baseline, named))
    if policy is not None:
        module, _, name = policy.partition(":")
        run.report(policy, run.score(getattr(importlib.import_module(module), name), named))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None, sys.argv[3:])
