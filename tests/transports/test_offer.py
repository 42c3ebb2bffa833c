"""Offers are read with limits, and what is wrong is told."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.contract.errors import BadRequest
from gateway.media.reach import Media, Reach
from gateway.media.rtc_port import parse
from gateway.transports.offer import read_fragment, read_offer
from tests.transports.offers import BAD, CHROMIUM, FIREFOX, GOOD, OPENAI, TOO_LARGE

LOOPBACK = Reach.of(Media(), ("127.0.0.1",)).admits
PUBLIC = Reach.of(Media(), ("1.2.3.4",)).admits
QUICK = 0.05
"""Seconds of CPU that any offer may take."""


@pytest.mark.parametrize("offer", GOOD)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_real_clients_send_is_taken(offer: str, end: str) -> None:
    taken = read_offer(offer.replace("\n", end), LOOPBACK)
    parsed = parse(taken.sdp)
    assert [(media.kind, media.rtp.muxId) for media in parsed.media] == [("audio", "0"), ("application", "1")]
    assert "opus" in [codec.name for codec in parsed.media[0].rtp.codecs]
    assert parsed.media[1].sctp_port == 5000
    assert all(media.dtls and media.dtls.fingerprints and media.ice and media.ice.password for media in parsed.media)


@pytest.mark.parametrize("offer", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_told(offer: str) -> None:
    began = time.thread_time()
    with pytest.raises(BadRequest) as refused:
        read_offer(offer, LOOPBACK)
    assert refused.value.status == 400
    assert time.thread_time() - began < QUICK


@pytest.mark.parametrize("offer", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_what_is_too_large_is_not_read(offer: str) -> None:
    began = time.thread_time()
    with pytest.raises(BadRequest) as refused:
        read_offer(offer, LOOPBACK)
    assert refused.value.status == 413
    assert time.thread_time() - began < QUICK


def test_only_candidates_we_may_send_to_are_kept() -> None:
    kept = [each.ip for each in parse(read_offer(CHROMIUM, LOOPBACK).sdp).media[0].ice_candidates]
    assert kept == ["127.0.0.1"]
    offer = CHROMIUM.replace("192.168.1.5", "8.8.8.8")
    assert [each.ip for each in parse(read_offer(offer, PUBLIC).sdp).media[0].ice_candidates] == ["8.8.8.8"]
    for inner in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "224.0.0.1", "fd00::1", "metadata.internal"):
        assert read_offer(CHROMIUM.replace("192.168.1.5", inner), PUBLIC).candidates == 0


def test_parameters_of_a_codec_that_is_not_there_are_no_reason_to_fail() -> None:
    taken = read_offer(CHROMIUM.replace("a=fmtp:63 111/111", "a=fmtp:99 x=1"), LOOPBACK)
    assert parse(taken.sdp).media


def test_a_fragment_brings_candidates_for_its_mid() -> None:
    offer = read_offer(FIREFOX, LOOPBACK)
    fragment = (
        "a=ice-ufrag:c4f5c4e2\r\na=ice-pwd:0b66f472495ef0ccac7bda653ab6be49\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        "a=candidate:0 1 UDP 2122252543 127.0.0.1 50000 typ host\r\n"
        "a=candidate:0 1 UDP 2122252543 10.0.0.1 50000 typ host\r\na=end-of-candidates\r\n"
    )
    assert read_fragment(fragment, offer, LOOPBACK) == [("0", "0 1 UDP 2122252543 127.0.0.1 50000 typ host")]


@pytest.mark.parametrize(
    ("fragment", "status"),
    [
        ("hello", 400),
        ("a=candidate:what", 400),
        ("a=mid:9", 400),
        ("a=ice-ufrag:other\r\na=ice-pwd:0b66f472495ef0ccac7bda653ab6be49", 422),
        ("a=x\r\n" * 100_000, 413),
    ],
)
def test_what_is_wrong_with_a_fragment_is_told(fragment: str, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        read_fragment(fragment, read_offer(OPENAI, LOOPBACK), LOOPBACK)
    assert refused.value.status == status


def mutated(rng: random.Random, count: int) -> Iterator[str]:
    """Good offers with a few things wrong each."""
    for _ in range(count):
        lines = rng.choice(GOOD).split("\n")
        for _ in range(rng.randint(1, 4)):
            rng.choice(MUTATIONS)(rng, lines)
        yield rng.choice(["\n", "\r\n"]).join(lines)


def _drop(rng: random.Random, lines: list[str]) -> None:
    del lines[rng.randrange(len(lines))]
    lines[:] = lines or ["v=0"]


def _repeat(rng: random.Random, lines: list[str]) -> None:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))


def _swap(rng: random.Random, lines: list[str]) -> None:
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


def _cut(rng: random.Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines))
    lines[at] = lines[at][: rng.randint(0, len(lines[at]))]


def _scribble(rng: random.Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines))
    position = rng.randint(0, len(lines[at]))
    junk = rng.choice(
        ["\0", " ", ":", "=", "-1", "99999999999999999999", "٣", "\u2028", "\x0b", "é", "a" * 3000, "%s", "/"]
    )
    lines[at] = lines[at][:position] + junk + lines[at][position + rng.randint(0, 3) :]


def _number(rng: random.Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines))
    words = lines[at].split(" ")
    words[rng.randrange(len(words))] = str(rng.choice([-1, 0, 1, 72, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**64]))
    lines[at] = " ".join(words)


MUTATIONS = (_drop, _repeat, _swap, _cut, _scribble, _number)


def test_ten_thousand_broken_offers_are_refused_or_can_be_parsed() -> None:
    rng, taken = random.Random(16), 0
    for text in mutated(rng, 10_000):
        began = time.thread_time()
        with suppress(BadRequest):
            parse(read_offer(text, LOOPBACK).sdp)
            taken += 1
        assert time.thread_time() - began < QUICK
    assert 1000 < taken < 9000
