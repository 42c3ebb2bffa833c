"""What a replica says, and what it makes of what others say: with plain bytes and moments."""

from __future__ import annotations

import orjson
import pytest

from gateway.state.exchange import LONGEST, Exchange
from gateway.state.shared_clock import SharedClock
from gateway.state.store import Ejection, Replica, Sums
from gateway.state.wire import LARGEST

KEY = "chat\x1ffake/a"
UNIX = 1_700_000_000.0
ME, OTHER = "0" * 16, "1" * 16


class Side:
    """One replica. Its loop's clock began at `zero`, seconds of Redis' clock."""

    def __init__(self, name: str = ME, zero: float = UNIX, sums: Sums | None = None) -> None:
        self.merged: dict[str, tuple[Sums, float]] = {}
        self.merges = 0
        self.forgotten: list[str] = []
        self.ejected: list[Ejection] = []
        self.sums = sums or {}
        clock = SharedClock()
        clock.sample(0.0, 0.0, zero)
        replica = Replica(lambda: self.sums, self._merge, self.forgotten.append, self.ejected.append)
        self.exchange = Exchange(replica, name, clock, forget=60.0)

    def _merge(self, replica: str, sums: Sums, age: float) -> None:
        if any(len(row) != 2 for row in sums.values()):
            raise ValueError("rows have two numbers")
        self.merged[replica] = (sums, age)
        self.merges += 1


def test_sums_arrive_as_they_left_with_their_age() -> None:
    one, two = Side(ME, sums={KEY: [1.0, 0.1]}), Side(OTHER)
    two.exchange.read(ME, one.exchange.statement(10.0), 12.5)
    assert two.merged[ME] == ({KEY: [1.0, 0.1]}, 2.5)


def test_a_statement_is_merged_once_however_often_it_is_found() -> None:
    one, two = Side(ME, sums={KEY: [1.0, 0.1]}), Side(OTHER)
    said = one.exchange.statement(10.0)
    for now in (11.0, 12.0, 13.0):
        two.exchange.read(ME, said, now)
    assert two.merges == 1


def test_ones_own_words_are_not_counted_twice() -> None:
    one = Side(ME, sums={KEY: [1.0, 0.1]})
    one.exchange.read(ME, one.exchange.statement(10.0), 10.5)
    ejection = Ejection("chat", "fake/a", 20.0, "3 failures")
    one.exchange.hear(one.exchange.news(ejection, 11.0), 11.0)
    assert not one.merged
    assert not one.ejected


def test_a_deadline_is_the_same_moment_on_hosts_whose_clocks_differ() -> None:
    one, two = Side(ME, zero=UNIX), Side(OTHER, zero=UNIX - 5000.0)
    news = one.exchange.news(Ejection("chat", "fake/a", 15.0, "3 failures"), 10.0)
    two.exchange.hear(news, 5010.25)
    assert [each.until for each in two.ejected] == [pytest.approx(5015.0, abs=0.002)]


def test_one_who_missed_the_news_finds_them_in_the_statement() -> None:
    one, two = Side(ME), Side(OTHER)
    one.exchange.eject(Ejection("chat", "fake/a", 15.0, "3 failures"), 10.0)
    two.exchange.read(ME, one.exchange.statement(12.0), 12.0)
    assert [each.until for each in two.ejected] == [pytest.approx(15.0, abs=0.002)]
    two.exchange.read(ME, one.exchange.statement(13.0), 13.0)
    assert len(two.ejected) == 1  # said again, heard once
    assert orjson.loads(one.exchange.statement(15.1))["out"] == {}


def test_of_two_deadlines_the_later_counts() -> None:
    one, two = Side(ME), Side(OTHER)
    for until in (20.0, 15.0, 25.0):
        ejection = Ejection("chat", "fake/a", until, "3 failures")
        one.exchange.eject(ejection, 10.0)
        two.exchange.hear(one.exchange.news(ejection, 10.0), 10.0)
    assert [each.until for each in two.ejected] == [pytest.approx(20.0, abs=0.002), pytest.approx(25.0, abs=0.002)]
    late = Side("2" * 16)
    late.exchange.read(ME, one.exchange.statement(11.0), 11.0)
    assert [each.until for each in late.ejected] == [pytest.approx(25.0, abs=0.002)]


def test_what_is_out_for_good_here_is_not_out_for_good_elsewhere() -> None:
    one, two = Side(ME), Side(OTHER)
    two.exchange.hear(one.exchange.news(Ejection("chat", "fake/a", float("inf"), "401"), 10.0), 10.0)
    assert two.ejected[0].until == pytest.approx(10.0 + LONGEST, abs=0.002)


def test_who_says_nothing_new_is_forgotten() -> None:
    one, two = Side(ME, sums={KEY: [1.0, 0.1]}), Side(OTHER)
    said = one.exchange.statement(10.0)
    two.exchange.read(ME, said, 10.0)
    two.exchange.read(ME, said, 60.0)
    two.exchange.forget_silent(69.0)
    assert not two.forgotten
    two.exchange.forget_silent(71.0)
    assert two.forgotten == [ME]


def test_old_statements_and_those_of_the_future_are_left_out() -> None:
    one, two = Side(ME, sums={KEY: [1.0, 0.1]}), Side(OTHER)
    two.exchange.read(ME, one.exchange.statement(10.0), 80.0)
    two.exchange.read(ME, one.exchange.statement(100.0), 80.0)
    assert not two.merged


def _said(**changed: object) -> bytes:
    return orjson.dumps({"at": UNIX + 10.0, "sums": {}, "out": {}} | changed)


GARBAGE = [
    b"",
    b"\x80\x04\x95garbage",
    b"null",
    b"[]",
    b"[" * 100_000,
    b" " * (LARGEST + 1),
    b'{"at": 1e999, "sums": {}, "out": {}}',
    b'{"at": 1' + b"0" * 400 + b', "sums": {}, "out": {}}',
    _said(at=True),
    _said(sums=[]),
    _said(out={"no separator": [UNIX + 15.0, "3 failures"]}),
    _said(out={"a\x1fb\x1fc": [UNIX + 15.0, "3 failures"]}),
    _said(sums={"k" * 600 + "\x1f": [1.0, 1.0]}),
    _said(sums={KEY: [1.0, 2.0, 3.0]}),  # of another release: `merge` refuses
    _said(sums={KEY: [1.0, None]}),
    _said(sums={KEY: [1e300, 1.0]}),
    _said(sums={KEY: [0.0] * 300}),
    _said(sums={f"{n}\x1f": [0.0, 0.0] for n in range(3000)}),
    _said(out={KEY: [UNIX + 15.0]}),
    _said(out={KEY: [UNIX + 1e9, "for ever"]}),
    _said(out={KEY: [UNIX + 15.0, "two\nlines"]}),
    _said(out={KEY: [UNIX + 15.0, "x" * 100]}),
]


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_ignored_with_one_line(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    side = Side(ME)
    for now in (10.0, 11.0, 12.0):
        side.exchange.read(OTHER, raw, now)
    assert not side.merged
    assert not side.ejected
    assert caplog.messages == [f"what replica {OTHER} says is ignored: not understood"]


@pytest.mark.parametrize("raw", [b"", b"7", b'{"by": "../etc", "out": {}}', b'{"by": "' + OTHER.encode() + b'"}'])
def test_garbled_news_are_ignored_with_one_line(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    side = Side(ME)
    side.exchange.hear(raw, 10.0)
    side.exchange.hear(raw, 11.0)
    assert not side.ejected
    assert caplog.messages == ["news of another replica are ignored: not understood"]


def test_strangers_cannot_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    side = Side(ME)
    for n in range(500):
        side.exchange.read(f"{n:016x}", _said(sums={KEY: [1.0, 1.0]}), 10.0)
        side.exchange.read(f"{n + 1000:016x}", b"garbage", 10.0)
    assert len(side.merged) == 64
    assert len(caplog.messages) == 64


def test_sums_that_are_too_many_are_kept_back_and_ejections_still_told(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Side(ME, sums={f"route {n}\x1ffake/a": [0.1] * 200 for n in range(1000)}), Side(OTHER)
    one.exchange.eject(Ejection("chat", "fake/a", 15.0, "3 failures"), 10.0)
    two.exchange.read(ME, one.exchange.statement(10.0), 10.0)
    two.exchange.read(ME, one.exchange.statement(11.0), 11.0)
    assert [each.target for each in two.ejected] == ["fake/a"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("the sums of this replica are not shared: ")
