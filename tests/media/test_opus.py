"""Opus: what is said comes out the other end, within the bit rate, whichever library does it."""

from __future__ import annotations

import av
import numpy as np
import pytest

from gateway.media.opus import (
    BITRATE,
    FRAME_SAMPLES,
    RATE,
    AvEncoder,
    Encoder,
    LibopusEncoder,
    find_library,
    new_encoder,
)
from tests.sounds import pitch, tone


def by_ctypes() -> Encoder:
    library = find_library()
    assert library is not None
    return LibopusEncoder(library)


def encoded(encoder: Encoder, seconds: float) -> list[bytes]:
    pcm = tone(440, seconds, RATE)
    return [encoder.encode(pcm[start : start + FRAME_SAMPLES].tobytes()) for start in range(0, len(pcm), FRAME_SAMPLES)]


def decoded(packets: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    codec = av.CodecContext.create("libopus", "r")
    codec.sample_rate, codec.layout, codec.format = 48_000, "mono", "s16"
    return np.concatenate([frame.to_ndarray()[0] for each in packets for frame in codec.decode(av.Packet(each))])


@pytest.mark.parametrize("make", [by_ctypes, AvEncoder])
def test_a_tone_survives_and_costs_what_it_should(make: type[AvEncoder]) -> None:
    packets = encoded(make(), 2.0)
    assert len(packets) == 100
    assert BITRATE / 3 < sum(map(len, packets)) * 8 / 2.0 < BITRATE * 1.3
    heard = decoded(packets)
    assert len(heard) == 2 * 48_000
    assert abs(pitch(heard[9600:], 48_000) - 440) < 2


def test_libopus_is_found_where_av_is_installed() -> None:
    assert isinstance(new_encoder(), LibopusEncoder)


def test_without_libopus_av_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.media.opus._places", lambda: iter(["/nowhere/libopus.so"]))
    find_library.cache_clear()
    try:
        assert isinstance(new_encoder(), AvEncoder)
    finally:
        find_library.cache_clear()


def test_a_lost_packet_can_be_mended_from_the_next() -> None:
    """In-band FEC: the next packet carries a copy (libopus' own decoder, asked for it, gives the tone and not silence)."""
    import ctypes

    library = find_library()
    assert library is not None
    packets = encoded(by_ctypes(), 1.0)
    library.opus_decoder_create.restype = ctypes.c_void_p
    library.opus_decode.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    ]
    library.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
    decoder = library.opus_decoder_create(RATE, 1, ctypes.byref(ctypes.c_int()))
    pcm = np.zeros(FRAME_SAMPLES, np.int16)
    library.opus_decode(
        decoder, packets[30], len(packets[30]), pcm.ctypes.data, FRAME_SAMPLES, 1
    )  # FEC only, from cold
    library.opus_decoder_destroy(decoder)
    assert np.abs(pcm).max() > 1000
