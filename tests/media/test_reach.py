"""Reach: media goes where a caller can be, and nowhere else."""

from __future__ import annotations

import pytest

from gateway.media.reach import Media, Reach, bound, scope


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("169.254.169.254", "link"),
        ("fe80::1", "link"),
        ("10.0.0.7", "private"),
        ("172.16.3.4", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("1.1.1.1", "global"),
        ("2606:4700::1111", "global"),
        ("0.0.0.0", None),
        ("0.1.2.3", None),
        ("::", None),
        ("224.0.0.1", None),
        ("ff02::1", None),
        ("255.255.255.255", None),
        ("240.0.0.1", None),
        ("::ffff:10.0.0.1", None),
        ("::ffff:1.1.1.1", None),
        ("2002:a00:1::", None),
        ("64:ff9b::a00:1", None),
        ("::10.0.0.1", None),
        ("1b7e9c2a-0000-4000-8000-000000000000.local", None),
        ("localhost", None),
        ("example.com", None),
        ("0x7f000001", None),
        ("2130706433", None),
        ("127.1", None),
        ("010.0.0.1", None),
        ("", None),
    ],
)
def test_scopes(address: str, expected: str | None) -> None:
    assert scope(address) == expected


@pytest.mark.parametrize(
    ("ours", "admitted", "refused"),
    [
        ("127.0.0.1", ["127.0.0.1", "::1"], ["10.0.0.1", "169.254.169.254", "1.1.1.1"]),
        ("10.0.0.5", ["10.9.9.9", "192.168.0.2", "1.1.1.1"], ["127.0.0.1", "169.254.169.254", "224.0.0.1"]),
        ("1.2.3.4", ["8.8.8.8"], ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "fd00::1"]),
    ],
)
def test_only_addresses_in_a_scope_of_our_own_are_answered(ours: str, admitted: list[str], refused: list[str]) -> None:
    reach = Reach.of(Media(), (ours,))
    assert all(map(reach.admits, admitted))
    assert not any(map(reach.admits, refused))


def test_an_announced_address_is_the_one_that_counts() -> None:
    reach = Reach.of(Media(announce="1.2.3.4"), ("10.0.0.5",))
    assert reach.admits("8.8.8.8")
    assert not reach.admits("10.0.0.9")


def test_what_is_bound() -> None:
    assert bound(Media(), "127.0.0.1") == ("127.0.0.1",)
    assert bound(Media(), "::1") == ("::1",)
    assert bound(Media(), "localhost") == ("127.0.0.1",)
    assert bound(Media(addresses=("10.0.0.5",)), "127.0.0.1") == ("10.0.0.5",)
    everywhere = bound(Media(), "0.0.0.0")
    assert everywhere
    assert all(scope(address) in ("loopback", "private", "global") for address in everywhere)
