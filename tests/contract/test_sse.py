import random

import pytest

from gateway.contract.sse import EventTooLarge, ServerEvent, ServerEvents

STREAM = (
    b"\xef\xbb\xbfdata: one\n"
    b"\n"
    b": a comment\r\n"
    b"\r\n"
    b"event: named\rdata: two\r\r"
    b"data:three, without a space\r\n\r\n"
    b"data:  four, with two\n"
    b"data\n"
    b"data: and three lines\n"
    b": a comment within\n"
    b"id: 7\nretry: 100\nunknown: x\n\n"
    b"event: lost, having no data\n\n"
    b"data: five \xe2\x82\xac\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    ServerEvent(b"one"),
    ServerEvent(b"two", "named"),
    ServerEvent(b"three, without a space"),
    ServerEvent(b" four, with two\n\nand three lines"),
    ServerEvent(b"five \xe2\x82\xac"),
    ServerEvent(b"[DONE]"),
]


def read(*pieces: bytes, limit: int = 1 << 20) -> list[ServerEvent]:
    parser = ServerEvents(limit)
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


def test_a_stream_in_one_piece_gives_its_events() -> None:
    assert read(STREAM) == EVENTS


@pytest.mark.parametrize("stream", [STREAM, STREAM.removeprefix(b"\xef\xbb\xbf"), STREAM.replace(b"\n", b"\r\n")])
def test_where_the_reads_fall_makes_no_difference(stream: bytes) -> None:
    whole = read(stream)
    for cut in range(len(stream) + 1):
        assert read(stream[:cut], stream[cut:]) == whole, cut
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == whole


def test_nor_do_many_cuts_and_empty_reads() -> None:
    rng = random.Random(7)
    for _ in range(300):
        cuts = sorted(rng.randrange(len(STREAM) + 1) for _ in range(rng.randrange(1, 12)))
        pieces = [STREAM[start:end] for start, end in zip([0, *cuts], [*cuts, len(STREAM)])]
        assert read(*pieces) == EVENTS, pieces


def test_a_read_of_nothing_parts_no_line_end() -> None:
    assert read(b"data: a\r", b"", b"\ndata: b\n\n") == [ServerEvent(b"a\nb")]


def test_an_event_is_given_as_soon_as_its_blank_line_ends() -> None:
    parser = ServerEvents()
    assert parser.feed(b"data: now\n") == []
    assert parser.feed(b"\n") == [ServerEvent(b"now")]
    assert parser.feed(b"data: then\r\n\r") == [ServerEvent(b"then")]
    assert parser.feed(b"\ndata: last\n\n") == [ServerEvent(b"last")]


@pytest.mark.parametrize("rest", [b"data: last", b"data: last\n", b"data: last\r", b"data: last\r\n"])
def test_an_event_without_its_blank_line_is_given_at_the_end(rest: bytes) -> None:
    assert read(b"data: first\n\n" + rest) == [ServerEvent(b"first"), ServerEvent(b"last")]


@pytest.mark.parametrize("nothing", [b"", b"\n\n\n", b": ping\n\n", b"\xef\xbb", b"<html></html>", b"event: x\n\n"])
def test_what_holds_no_data_gives_no_event(nothing: bytes) -> None:
    assert read(nothing) == []


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("flood", [b"data: " + b"x" * 300, b"data: xxxxxxxx\n" * 30, b":" + b"x" * 300])
def test_an_event_past_the_limit_is_an_error_and_not_memory(flood: bytes, piece: int) -> None:
    with pytest.raises(EventTooLarge):
        read(*(flood[at : at + piece] for at in range(0, len(flood), piece)), limit=200)


def test_the_limit_is_per_event() -> None:
    assert len(read(b"data: 0123456789\n\n" * 100, limit=20)) == 100
