"""What was spent outlives the process, and processes of one machine add up."""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.access.access import Access
from gateway.access.key import Budget, Key, Limits
from gateway.access.key_file import KeyFile
from gateway.access.spent_file import SpentFile
from gateway.contract.errors import BudgetSpent
from tests.access.stage import Clock, made

DAY = Limits(budget=Budget(10.0, "day"))


class Process:
    """One that serves for as long as this is entered."""

    def __init__(self, file: KeyFile, clock: Clock) -> None:
        self.access = Access(file, lambda: clock.now, lambda: clock.unix, spent=file.spent)

    async def __aenter__(self) -> Access:
        self.task = asyncio.create_task(self.access.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.access

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
def key(tmp_path: Path) -> Key:
    _, key = made(DAY)
    KeyFile(tmp_path / "keys.json").change(lambda _: [key])
    return key


async def charge(access: Access, key: Key, usd: float) -> None:
    grant = await access.admit(key)
    grant.charge(usd)
    grant.end()


async def test_a_restart_forgets_no_budget_until_the_next_day(tmp_path: Path, key: Key) -> None:
    file, clock = KeyFile(tmp_path / "keys.json"), Clock()
    async with Process(file, clock) as access:
        await charge(access, key, 6.0)
    async with Process(file, clock) as access:
        await charge(access, key, 4.0)
    async with Process(file, clock) as access:
        with pytest.raises(BudgetSpent):
            await charge(access, key, 1.0)
        clock.unix += 86_400
        await charge(access, key, 1.0)
    assert stat.S_IMODE(file.spent.stat().st_mode) == 0o600


def test_processes_of_one_machine_add_up(tmp_path: Path) -> None:
    one, two = SpentFile(tmp_path / "spent.json"), SpentFile(tmp_path / "spent.json")
    unix = Clock().unix
    one.sync({"a": {"2030-03-17": 2.0}}, unix)
    two.sync({"a": {"2030-03-17": 3.0}}, unix)
    total = one.sync({"a": {"2030-03-17": 2.5}}, unix)
    assert total == {"a": {"2030-03-17": 5.5}}
    assert two.sync({"a": {"2030-03-17": 3.0}}, unix) == total
    assert one.sync({}, unix + 86_400) == {}


def test_a_file_that_cannot_be_used_costs_a_line_and_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spent.json").write_text("{broken")
    assert SpentFile(tmp_path / "spent.json").sync({"a": {"2030-03-17": 2.0}}, Clock().unix) == {
        "a": {"2030-03-17": 2.0}
    }
    assert "what was spent before is not known" in caplog.text
    gone = SpentFile(tmp_path / "none" / "spent.json")
    assert gone.sync({}, 0.0) is None
    assert gone.sync({}, 0.0) is None
    assert caplog.text.count("cannot be kept") == 1
