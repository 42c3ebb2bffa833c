"""The promises of conftest.py, kept by running it on small test files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT

CONFTEST = "from tests.conftest import *\n"


def run(folder: Path, test: str, **env: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(f"import asyncio, pytest\n{test}")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "no:cacheprovider",
        str(folder),
    ]
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(command, cwd=folder, env=inherited | env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


NEEDY = '@pytest.mark.needs("no-such-tool")\ndef test_it(): pass\ndef test_other(): pass\n'


def test_by_hand_a_test_without_its_tool_is_left_out_and_named(tmp_path: Path) -> None:
    status, said = run(tmp_path, NEEDY)
    assert status == 0
    assert "1 because no-such-tool is not installed:" in said
    assert "test_it.py::test_it" in said
    assert "1 passed, 1 skipped" in said


def test_on_ci_a_test_without_its_tool_fails(tmp_path: Path) -> None:
    status, said = run(tmp_path, NEEDY, CI="true")
    assert status == 1
    assert "cannot run on CI: no-such-tool is not installed" in said


@pytest.mark.parametrize("skip", ['@pytest.mark.skip("why")\ndef test_it(): pass', "def test_it(): pytest.skip('why')"])
def test_on_ci_nothing_is_skipped_in_silence(tmp_path: Path, skip: str) -> None:
    assert run(tmp_path, skip)[0] == 0
    status, said = run(tmp_path, skip, CI="true")
    assert status == 1
    assert "CI does not allow" in said


def test_a_test_that_leaves_a_task_behind_fails(tmp_path: Path) -> None:
    status, said = run(
        tmp_path, "kept = []\nasync def test_it(): kept.append(asyncio.create_task(asyncio.Event().wait()))\n"
    )
    assert status == 1
    assert "the test left tasks behind" in said


def test_a_task_that_its_fixture_stops_is_not_left_behind(tmp_path: Path) -> None:
    status, _ = run(
        tmp_path,
        """
@pytest.fixture
async def server():
    task = asyncio.create_task(asyncio.Event().wait())
    yield
    task.cancel()
    await asyncio.wait([task])

async def test_it(server): pass
""",
    )
    assert status == 0
