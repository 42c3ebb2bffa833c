"""What a routing decision costs, in CPU time: a plan over 20 targets with histories, p50 and p99.

python -m loadtests.routing_decision

The same decisions are made in several runs. A run's own figures hold what else the machine does (caches, a shared core); the
cheapest of a decision's costs holds it least, and tells what the code takes. The fixed loop says how quick the machine is now.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from gateway.routing.board import Board
from gateway.routing.route import Policy, Route, Target
from gateway.routing.wish import Wish

TARGETS, WARM, DECISIONS, RUNS = 20, 4000, 20_000, 5


def main() -> None:
    loop = sorted(_loop() for _ in range(DECISIONS // 4))
    print(f"a fixed loop of 500 additions: {_told(loop)}")
    for wish, what in ((Wish(), "without prompt"), (Wish(tokens=800), "800 tokens")):
        runs = [_run(wish) for _ in range(RUNS)]
        for costs in runs:
            print(f"a decision over {TARGETS} targets, {what}: {_told(sorted(costs))}")
        print(f"the cheapest of each decision's {RUNS}, {what}: {_told(sorted(map(min, zip(*runs))))}")


def _run(wish: Wish) -> list[int]:
    rng = random.Random(1)
    targets = tuple(Target(f"t{n}", "m") for n in range(TARGETS))
    route = Route("r", "llm", targets, Policy())
    board, now = Board("r", rng, 0.0), 0.0
    costs: list[int] = []
    for number in range(WARM + DECISIONS):
        now += 0.02
        began = time.thread_time_ns()
        plan = board.plan(now, route, wish)
        spent = time.thread_time_ns() - began
        if number >= WARM:
            costs.append(spent)
        ticket = board.started(now, plan.targets[0], wish.tokens)
        board.first(now, ticket, rng.lognormvariate(-1.0, 0.4) + wish.tokens * 5e-5)
        board.ended(now, ticket, "ok")
    return costs


def _loop() -> int:
    began, total = time.thread_time_ns(), 0
    for each in range(500):
        total += each
    return time.thread_time_ns() - began


def _told(costs: Sequence[int]) -> str:
    return f"p50 {costs[len(costs) // 2] / 1000:.0f} us, p99 {costs[len(costs) * 99 // 100] / 1000:.0f} us of CPU"


if __name__ == "__main__":
    main()
