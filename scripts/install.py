"""install.py LOCK [--alone]: this interpreter's environment gets what LOCK pins, checked by hash, and this project, editable.
`--alone`: without this project."""

import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
PACKAGE = re.compile(r"^(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)==")


def main(lock: Path, alone: bool) -> int:
    total = len(re.findall(r"^[a-z]", lock.read_text(), re.MULTILINE))
    command = [*PIP, "install", "--progress-bar", "off", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as pip:
        assert pip.stdout is not None
        last = tell(pip.stdout, total, f"installing {lock.name}")
    if pip.returncode:
        print(*last, sep="", end="", file=sys.stderr)
        return pip.returncode
    print(f"installed: the {total} packages of {lock.name}")
    if alone:
        return 0
    # Its build tool is in the lock: nothing is fetched, nothing is isolated.
    return subprocess.call([*PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", "."])


def tell(lines: Iterable[str], total: int, what: str) -> Iterable[str]:
    """pip's progress, in a line rewritten on a terminal and a line per twenty packages elsewhere; its last words."""
    seen = 0
    last: deque[str] = deque(maxlen=12)
    start, end = ("\r\x1b[K", "") if sys.stdout.isatty() else ("", "\n")
    for line in lines:
        last.append(line)
        if match := PACKAGE.match(line):
            seen += 1
            if not end or seen % 20 == 0:
                print(f"{start}{what}: {seen} of {total}, {match[1]}", end=end, flush=True)
        elif line.startswith("Installing collected packages"):
            print(f"{start}{what}: unpacking", end=end, flush=True)
    print(start, end="")
    return last


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--alone" in sys.argv[2:]))
