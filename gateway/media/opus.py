"""Opus for speech: 20 ms frames of mono s16le become packets, with in-band FEC so that a lost packet can be mended.

libopus by ctypes: the one inside the `av` wheel, else the system's; where neither loads, av's own encoder (slower, the
same settings). Cost of a frame here at complexity 5: 127 us by ctypes, 350 us by av.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol

import av

RATE = 24_000
"""Samples per second, mono, of what is encoded."""
FRAME_SAMPLES = 480
"""Samples of a frame of 20 ms."""
BITRATE = 32_000
EXPECTED_LOSS = 10
"""Percent. Libopus spends bits on FEC only as far as it is told to expect loss."""
COMPLEXITY = 5

_APPLICATION_VOIP = 2048
_SIGNAL_VOICE = 3001
_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS, _SET_SIGNAL = 4002, 4010, 4012, 4014, 4024
_LARGEST_PACKET = 1275  # RFC 6716, 3.2.1: bytes of one frame, header aside


class Encoder(Protocol):
    """`encode`: FRAME_SAMPLES of s16le mono at RATE to one Opus packet."""

    def encode(self, pcm: bytes) -> bytes: ...


class OpusError(Exception):
    """Libopus refused; its own code."""


def new_encoder(complexity: int = COMPLEXITY) -> Encoder:
    library = find_library()
    return LibopusEncoder(library, complexity) if library is not None else AvEncoder(complexity)


class LibopusEncoder:
    def __init__(self, library: ctypes.CDLL, complexity: int = COMPLEXITY) -> None:
        self._opus = library
        self._state: int | None = None
        error = ctypes.c_int()
        self._state = library.opus_encoder_create(RATE, 1, _APPLICATION_VOIP, ctypes.byref(error))
        if error.value != 0:
            raise OpusError(error.value)
        self._set(_SET_BITRATE, BITRATE)
        self._set(_SET_COMPLEXITY, complexity)
        self._set(_SET_INBAND_FEC, 1)
        self._set(_SET_PACKET_LOSS, EXPECTED_LOSS)
        self._set(_SET_SIGNAL, _SIGNAL_VOICE)
        self._packet = ctypes.create_string_buffer(_LARGEST_PACKET)

    def __del__(self) -> None:
        if self._state is not None:
            self._opus.opus_encoder_destroy(self._state)

    def encode(self, pcm: bytes) -> bytes:
        size = self._opus.opus_encode(self._state, pcm, FRAME_SAMPLES, self._packet, _LARGEST_PACKET)
        if size < 0:
            raise OpusError(size)
        return self._packet.raw[:size]

    def _set(self, what: int, value: int) -> None:
        code = self._opus.opus_encoder_ctl(self._state, what, ctypes.c_int(value))
        if code != 0:
            raise OpusError(code)


class AvEncoder:
    """The same through av, where no libopus can be loaded by itself."""

    def __init__(self, complexity: int = COMPLEXITY) -> None:
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate, self._codec.layout, self._codec.format = RATE, "mono", "s16"
        self._codec.time_base = Fraction(1, RATE)
        self._codec.bit_rate = BITRATE
        self._codec.options = {
            "application": "voip",
            "frame_duration": "20",
            "fec": "1",
            "packet_loss": str(EXPECTED_LOSS),
            "compression_level": str(complexity),
        }
        self._pts = 0

    def encode(self, pcm: bytes) -> bytes:
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._pts, Fraction(1, RATE)
        self._pts += FRAME_SAMPLES
        packets = self._codec.encode(frame)
        return b"".join(bytes(packet) for packet in packets)


@cache
def find_library() -> ctypes.CDLL | None:
    """Libopus with the signatures used here, or None."""
    for path in _places():
        try:
            return _declared(ctypes.CDLL(path))
        except (OSError, AttributeError):
            continue
    return None


def _places() -> Iterator[str]:
    package = Path(av.__file__).parent
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from map(str, sorted(folder.glob("libopus*")))
    found = ctypes.util.find_library("opus")
    if found:
        yield found
    yield "libopus.0.dylib" if sys.platform == "darwin" else "libopus.so.0"


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.opus_encoder_create.restype = ctypes.c_void_p
    library.opus_encoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    library.opus_encoder_destroy.restype = None
    library.opus_encoder_destroy.argtypes = [ctypes.c_void_p]
    library.opus_encode.restype = ctypes.c_int32
    library.opus_encode.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int32,
    ]
    # Only the fixed arguments: the rest is variadic, which some platforms pass differently.
    library.opus_encoder_ctl.restype = ctypes.c_int
    library.opus_encoder_ctl.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library
