"""Encoding: audio to and from the formats of the outside world. `av` is imported when first needed: WAV and PCM do without.

    encoder = Encoder("mp3", 24_000)
    data = encoder.feed(audio) + ... + encoder.finish()
    audio = decode(data, 16_000, longest=7200.0)

Nothing here awaits. Encoding takes about 10 ms of CPU for a second of audio, decoding about 1: not much for the event loop,
but more than a second of audio belongs in a thread.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.wav import Wav, wav_header

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

Format = Literal["wav", "pcm", "mp3", "opus", "flac", "aac"]
FORMATS: tuple[Format, ...] = ("wav", "pcm", "mp3", "opus", "flac", "aac")
MEDIA_TYPES: dict[Format, str] = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
}

_AS_IT_COMES = {"flush_packets": "1", "fflags": "+bitexact"}
# Format -> muxer, codec, sample rate if not every rate will do, bits per second, options of the muxer.
_CODECS: dict[Format, tuple[str, str, int | None, int | None, dict[str, str]]] = {
    "mp3": ("mp3", "libmp3lame", None, 64_000, {"write_xing": "0", "id3v2_version": "0"}),
    "opus": ("ogg", "libopus", 48_000, 32_000, {"page_duration": "100000"}),
    "flac": ("flac", "flac", None, None, {}),
    "aac": ("adts", "aac", None, 64_000, {}),
}
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

LOWEST_RATE, HIGHEST_RATE, MOST_CHANNELS = 4_000, 384_000, 16
"""Of audio that is decoded. A file may claim anything: from 1 Hz, resampling would make gigabytes of a small one."""


class BadAudio(ValueError):
    """It cannot be decoded; the message says why, and nothing of what it is."""


class Encoder:
    """One stream of mono audio in `format`, at `rate` samples per second; audio at another rate is resampled.

    `pcm` is headerless s16le. `wav` has a header that gives no length, as nobody knows it yet.
    """

    def __init__(self, format: Format, rate: int) -> None:
        self.rate = rate
        self._encode: _Plain | _Encoded = (
            _Plain(rate, format == "wav") if format in ("wav", "pcm") else _Encoded(format, rate)
        )
        self._resampler: Resampler | None = None

    def feed(self, audio: Audio) -> bytes:
        """What of the stream is ready; maybe nothing."""
        if audio.rate == self.rate and self._resampler is None:
            return self._encode.feed(audio)
        if self._resampler is None:
            self._resampler = Resampler(self.rate)
        return self._encode.feed(self._resampler.feed(audio))

    def finish(self) -> bytes:
        """The rest."""
        rest = b"" if self._resampler is None else self._encode.feed(self._resampler.finish())
        return rest + self._encode.finish()


class _Plain:
    def __init__(self, rate: int, header: bool) -> None:
        self._header = wav_header(rate) if header else b""

    def feed(self, audio: Audio) -> bytes:
        header, self._header = self._header, b""
        return header + audio.pcm

    def finish(self) -> bytes:
        return self._header


class _Sink:
    """A file that can only be written, so that muxers do not try to go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class _Encoded:
    def __init__(self, format: Format, rate: int) -> None:
        import av
        from av.audio.stream import AudioStream

        muxer, codec, fixed, bits, options = _CODECS[format]
        if format == "mp3" and rate not in _MP3_RATES:
            fixed = 24_000
        self._sink = _Sink()
        self._container = av.open(
            self._sink, "w", format=muxer, container_options=_AS_IT_COMES | options, buffer_size=4096
        )
        stream = self._container.add_stream(codec, rate=fixed or rate, layout="mono")
        assert isinstance(stream, AudioStream)
        if bits is not None:
            stream.bit_rate = bits
        self._stream = stream

    def feed(self, audio: Audio) -> bytes:
        if audio.samples:
            self._container.mux(self._stream.encode(_frame(audio)))
        return self._sink.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()


class Resampler:
    """A stream of audio at any rates, to one rate. What it holds back (a few samples) comes with `finish`."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._from = 0
        self._resampler: av.AudioResampler | None = None

    def feed(self, audio: Audio) -> Audio:
        import av

        before = b""
        if self._resampler is None or audio.rate != self._from:
            before = self.finish().pcm
            self._resampler, self._from = av.AudioResampler("s16", "mono", self.rate), audio.rate
        if not audio.samples:
            return Audio(before, self.rate)
        return Audio(before + _pcm(self._resampler.resample(_frame(audio))), self.rate)

    def finish(self) -> Audio:
        resampler, self._resampler = self._resampler, None
        return Audio(b"" if resampler is None else _pcm(resampler.resample(None)), self.rate)


def decode(data: bytes, rate: int, longest: float) -> Audio:
    """The first audio track of a file: wav, mp3, ogg, webm or matroska, flac, m4a or mp4, aac (adts).

    Raises BadAudio, also beyond `longest` seconds.
    """
    return Audio(b"".join(piece.pcm for piece in decoded(data, rate, longest)), rate)


def decoded(data: bytes, rate: int, longest: float, stop: Callable[[], bool] = lambda: False) -> Iterator[Audio]:
    """The same in pieces of a second. Ends early once `stop()`, which is asked often."""
    source = _frames(data, rate, stop)
    left = round(longest * rate) * SAMPLE_BYTES
    held = bytearray()
    piece = rate * SAMPLE_BYTES
    some = False
    for pcm in source:
        left -= len(pcm)
        if left < 0:
            raise BadAudio(f"is longer than {longest:g} s, the limit here")
        held += pcm
        while len(held) >= piece:
            some = True
            yield Audio(bytes(held[:piece]), rate)
            del held[:piece]
    if held:
        yield Audio(bytes(held), rate)
    elif not some and not stop():
        raise BadAudio("has no audio in it")


def _frames(data: bytes, rate: int, stop: Callable[[], bool]) -> Iterator[bytes]:
    wav = Wav.parse(data)
    if wav is not None and wav.plain and wav.rate == rate:
        view = memoryview(data)[wav.start : wav.end]
        step = rate * SAMPLE_BYTES
        for begin in range(0, len(view), step):
            if stop():
                return
            yield bytes(view[begin : begin + step])
        return
    muxer = sniff(data)
    if muxer is None:
        raise BadAudio("is of no format known here (wav, mp3, ogg, webm, flac, m4a, aac)")
    yield from _demuxed(data, muxer, rate, stop)


def sniff(data: bytes) -> str | None:
    """The demuxer for a file, by its first bytes.

    ffmpeg's own guess is not asked: it would take playlists too, and open the files and addresses that they name.
    """
    head = data[:12]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:
        return "mp3"
    return None


def _demuxed(data: bytes, muxer: str, rate: int, stop: Callable[[], bool]) -> Iterator[bytes]:
    import av

    try:
        with av.open(
            io.BytesIO(data), "r", format=muxer, metadata_errors="replace", io_open=_opens_nothing
        ) as container:
            yield from _samples(container, rate, stop)
    except av.error.FFmpegError as error:
        raise BadAudio("cannot be decoded") from error


def _opens_nothing(*_: object) -> None:
    raise BadAudio("refers to another file")


def _samples(container: InputContainer, rate: int, stop: Callable[[], bool]) -> Iterator[bytes]:
    import av

    if not container.streams.audio:
        raise BadAudio("has no audio in it")
    track = container.streams.audio[0]
    _check(track.codec_context.sample_rate, track.codec_context.channels)
    resampler = av.AudioResampler("s16", "mono", rate)
    form: tuple[int, str, str] | None = None
    for packet in container.demux(track):
        if stop():
            return
        try:
            frames = track.codec_context.decode(packet)
        except av.error.InvalidDataError:
            if form is None:
                raise
            continue  # a damaged packet among good ones costs itself
        for frame in frames:
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if now != form:
                _check(frame.sample_rate, len(frame.layout.channels))
                if form is not None:
                    yield _pcm(resampler.resample(None))
                    resampler = av.AudioResampler("s16", "mono", rate)
                form = now
            frame.pts = None
            yield _pcm(resampler.resample(frame))
    if form is not None:
        yield _pcm(resampler.resample(None))


def _check(rate: int, channels: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise BadAudio(f"has {rate} samples per second; {LOWEST_RATE} to {HIGHEST_RATE} are taken")
    if not 1 <= channels <= MOST_CHANNELS:
        raise BadAudio(f"has {channels} channels; up to {MOST_CHANNELS} are taken")


def _frame(audio: Audio) -> av.AudioFrame:
    import av

    frame = av.AudioFrame("s16", "mono", audio.samples)
    frame.planes[0].update(audio.pcm)
    frame.sample_rate = audio.rate
    return frame


def _pcm(frames: list[av.AudioFrame]) -> bytes:
    return b"".join(bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES] for frame in frames)
