"""CPU per request and per streamed event of the gateway, beside nginx and a bare reference proxy, all from one run.

python -m loadtests.http_path                       # the table, and whether it is within the bar
python -m loadtests.http_path --bar 3.0,2.5,2.0     # another bar: unary, burst, held

Runs ../shared/bench/compare.py (its README says what is measured and how) on `python -m gateway serve` with one route and one
target for each load: the whole gateway, with decisions, metrics, ledger and deadlines, without keys. Needs cc, and nginx for
its row (apt-get install nginx-light); ports 9100, 9201, 9202 and 9300 of loopback; the last core for whoever is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT.parent / "shared" / "bench"
BAR = "2.0,2.0,1.6"
PORT = 9300


def main(asked: list[str]) -> int:
    if not (BENCH / "compare.py").is_file():
        print(f"{BENCH} is not there")
        return 2
    bar = asked or ["--bar", BAR]
    gateway = f"{sys.executable} -m gateway serve --config {BENCH / 'routes.yaml'} --port {PORT} --log-level warning"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": ""}
    command = [sys.executable, str(BENCH / "compare.py"), gateway, "--port", str(PORT), *bar]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
