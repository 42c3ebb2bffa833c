"""What a routing decision costs, in CPU time: a plan over 20 targets with histories, p50 and p99.

python -m loadtests.routing_decision
"""

from __future__ import annotations

import random
import statistics
import time

from gateway.routing.board import Board
from gateway.routing.route import Policy, Route, Target

TARGETS, WARM, DECISIONS = 20, 4000, 20_000


def main() -> None:
    rng = random.Random(1)
    targets = tuple(Target(f"t{n}", "m") for n in range(TARGETS))
    route = Route("r", "llm", targets, Policy())
    board, now = Board("r", rng, 0.0), 0.0
    costs: list[int] = []
    for number in range(WARM + DECISIONS):
        now += 0.02
        began = time.thread_time_ns()
        plan = board.plan(now, route)
        spent = time.thread_time_ns() - began
        if number >= WARM:
            costs.append(spent)
        ticket = board.started(now, plan.targets[0])
        board.first(now, ticket, rng.lognormvariate(-1.0, 0.4))
        board.ended(now, ticket, "ok")
    costs.sort()
    p50, p99 = statistics.median(costs) / 1000, costs[len(costs) * 99 // 100] / 1000
    print(f"a decision over {TARGETS} targets: p50 {p50:.0f} us, p99 {p99:.0f} us of CPU")


if __name__ == "__main__":
    main()
