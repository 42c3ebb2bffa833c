"""What every test may use.

* `shared`: the folder beside the repository (recordings, human speech). `speech`: our own utterances, inside it.
* `browser`: the path of the system's Chromium, for playwright's `executable_path`.
* `@pytest.mark.needs("shared", "redis-server")` on a test, a class, or a module (`pytestmark = ...`): what it cannot
  run without, being "shared", "browser", "models", "node" (with the clients of tests/clients), "clients" (those in Python)
  or any command's name. The fixtures above and the markers below imply theirs.
  Missing by hand: left out, and named with the reason at the end. Missing with CI=true: the test fails. A skip by any
  other way (skipif, importorskip) fails on CI too: there, everything runs.
* `@pytest.mark.wire`: real sockets, on port 0. `@pytest.mark.models`: the embedded models; needs the [local] extra and
  pulled weights. `@pytest.mark.browser`: Chromium.
* Async tests need no marker. One that leaves a task behind, a second after its last fixture is torn down, fails: keep
  your tasks and await them. Every warning is an error, a socket left open among them.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from inspect import iscoroutinefunction
from pathlib import Path

import pytest

from tests import needs

IMPLIED = {"shared": "shared", "browser": "browser", "models": "models"}  # fixture or marker -> what it needs
LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session")
def shared() -> Path:
    return needs.SHARED


@pytest.fixture(scope="session")
def speech() -> Path:
    """k01, k02, k03, k05: `.wav` (16 kHz mono s16le) and `.txt` of the same name. k05 is an unfinished turn."""
    return needs.ROOT / "tests" / "data" / "speech"


@pytest.fixture(scope="session")
def browser() -> Path:
    found = needs.find_browser()
    assert found is not None
    return found


def pytest_configure(config: pytest.Config) -> None:
    left_out: dict[str, list[str]] = defaultdict(list)
    config.stash[LEFT_OUT] = left_out


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for reason in filter(None, map(needs.missing, needed_by(item))):
        if needs.on_ci():
            pytest.fail(f"cannot run on CI: {reason}", pytrace=False)
        item.config.stash[LEFT_OUT][reason].append(item.nodeid)
        pytest.skip(reason)


def needed_by(item: pytest.Item) -> list[str]:
    asked = [thing for mark in item.iter_markers("needs") for thing in mark.args]
    implied = [IMPLIED[name] for name in IMPLIED if item.get_closest_marker(name) or name in fixtures_of(item)]
    return list(dict.fromkeys(asked + implied))


def fixtures_of(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and needs.on_ci() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash[LEFT_OUT]
    if left_out:
        terminalreporter.section("left out", yellow=True)
    for reason, tests in left_out.items():
        terminalreporter.line(f"{len(tests)} because {reason}:")
        for name in tests:
            terminalreporter.line(f"    {name}")


@pytest.fixture(autouse=True)
def no_task_left(request: pytest.FixtureRequest) -> None:
    """Checks async tests only, so the others need no event loop. Set up first, so torn down last."""
    if isinstance(request.node, pytest.Function) and iscoroutinefunction(request.node.obj):
        request.getfixturevalue("tasks_accounted_for")


@pytest.fixture
async def tasks_accounted_for() -> AsyncGenerator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=1.0)
    assert not left, f"the test left tasks behind: {sorted(repr(task.get_coro()) for task in left)}"
