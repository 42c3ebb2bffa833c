"""The failover catalogue of tests/failover, on the wall's clock throughout: S15 takes its ninety seconds.

python -m loadtests.failover            # prints a table for results.md
python -m loadtests.failover s08 s14    # these rows only
"""

from __future__ import annotations

import sys

from tests.failover import test_catalogue  # its rows enlist themselves
from tests.failover.families import FAMILIES
from tests.failover.process import running
from tests.failover.rows import ROWS, Case, Ran, run


def main(wanted: list[str]) -> int:
    rows = [row for row in ROWS if row.run.__module__ == test_catalogue.__name__]
    chosen = [row for row in rows if not wanted or row.name.removeprefix("test_").split("_")[0] in wanted]
    cases = [Case(row, family, stream) for row in chosen for family in FAMILIES for stream in (True, False)]
    with running() as origin:
        ran = run(cases, origin, pace=False)
    print("| row | fault | family | mode | result | slowest call | may take | tries (primary/fallback) |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases:
        print(_line(case, ran))
    failed = [case for case, result in zip(cases, ran.values()) if result.error is not None]
    print(f"\n{len(cases) - len(failed)} of {len(cases)} passed")
    return 1 if failed else 0


def _line(case: Case, ran: Ran) -> str:
    result = ran[case.row.name, case.family, case.stream]
    number, *fault = case.row.name.removeprefix("test_").split("_")
    slowest = max((told.seconds for told in result.bench.calls), default=0.0)
    tries = ", ".join("/".join(map(str, each)) for each in result.bench.tries)
    why = " ".join((str(result.error) or type(result.error).__name__).replace("|", "/").split())
    outcome = "passed" if result.error is None else f"**failed**: {why[:100]}"
    mode = "streamed" if case.stream else "whole"
    cells = [number.upper(), " ".join(fault), case.family, mode, outcome]
    return f"| {' | '.join(cells)} | {slowest:.1f} s | {case.row.within:g} s | {tries} |"


if __name__ == "__main__":
    sys.exit(main([name.lower() for name in sys.argv[1:]]))
