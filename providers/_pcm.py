"""Mono s16le out of what a provider sends as such: base64 read, headers stripped, samples whole. Pure."""

from __future__ import annotations

import base64
import binascii

from gateway.contract.errors import Unavailable
from gateway.contract.wav import Wav

_OTHER = (b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b'{"', b"<!", b"<h")
"""How what is no samples begins: MP3, Ogg, FLAC, WebM, JSON, a page."""


class Samples:
    """One stream at `rate` samples per second. Raises Unavailable for what is something else."""

    def __init__(self, provider: str, rate: int) -> None:
        self._provider, self._rate = provider, rate
        self._rest = b""
        self._begun = False

    def take_base64(self, text: object) -> bytes:
        try:
            return self.take(base64.b64decode(text, validate=True) if isinstance(text, str) else b"\0")
        except binascii.Error:
            raise Unavailable("its audio is no base64", self._provider) from None

    def take(self, data: bytes) -> bytes:
        """Whole samples; half of one waits for the next piece. Any piece may begin with a header."""
        if data[:4] == b"RIFF":
            data, self._rest = self._stripped(data), b""
        elif not self._begun and data.startswith(_OTHER):
            raise Unavailable("its audio is no samples", self._provider)
        self._begun |= bool(data)
        data = self._rest + data
        whole = len(data) - len(data) % 2
        self._rest = data[whole:]
        return data[:whole]

    def _stripped(self, data: bytes) -> bytes:
        header = Wav.parse(data)
        if header is None or not header.plain:
            raise Unavailable("its audio is no mono s16le", self._provider)
        if header.rate != self._rate:
            raise Unavailable(f"its audio is at {header.rate} Hz, not {self._rate}", self._provider)
        return data[header.start :]
