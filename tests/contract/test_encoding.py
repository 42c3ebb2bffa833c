"""Encoding: every format decodes back to what went in; what is no audio says so, and nothing runs away with memory."""

from __future__ import annotations

import io
import math
import struct
import subprocess
import sys
import wave
from itertools import pairwise
from pathlib import Path

import av
import pytest

from gateway.contract.audio import Audio
from gateway.contract.encoding import (
    FORMATS,
    BadAudio,
    Encoder,
    Format,
    Resampler,
    decode,
    decoded,
    sniff,
)
from gateway.contract.wav import UNKNOWN, Wav, wav_header

SPOKEN: tuple[Format, ...] = ("wav", "mp3", "opus", "flac", "aac")


@pytest.fixture
def utterance(speech: Path) -> Audio:
    with wave.open(str(speech / "k01_kokoro_af_heart.wav")) as file:
        return Audio(file.readframes(file.getnframes()), file.getframerate())


def encoded(audio: Audio, format: Format, rate: int, piece: float = 0.1) -> list[bytes]:
    encoder = Encoder(format, rate)
    step = round(piece * audio.rate) * 2
    pieces = [encoder.feed(Audio(audio.pcm[at : at + step], audio.rate)) for at in range(0, len(audio.pcm), step)]
    return [*pieces, encoder.finish()]


def likeness(one: Audio, other: Audio) -> float:
    """Of their loudness over time, 1.0 being the same, where they fit best: codecs keep that, and come up to 0.1 s late."""
    first, second = loudness(one), loudness(other)
    return max(cosine(first, second[late:]) for late in range(11))


def loudness(audio: Audio) -> list[float]:
    """Every 10 ms."""
    step = audio.rate // 100 * 2
    pieces = [audio.pcm[at : at + step] for at in range(0, len(audio.pcm) - step, step)]
    return [float(sum(abs(each) for each in struct.unpack(f"<{len(piece) // 2}h", piece))) for piece in pieces]


def cosine(one: list[float], other: list[float]) -> float:
    pairs = list(zip(one, other))
    return sum(a * b for a, b in pairs) / math.sqrt(sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs))


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("format", SPOKEN)
def test_what_was_encoded_decodes_to_the_same_speech(utterance: Audio, format: Format, rate: int) -> None:
    back = decode(b"".join(encoded(utterance, format, rate)), 16_000, 60.0)
    assert back.rate == 16_000
    assert back.seconds == pytest.approx(utterance.seconds, abs=0.15)
    assert likeness(utterance, back) > 0.97


@pytest.mark.parametrize("format", SPOKEN)
def test_encoding_gives_as_it_goes(utterance: Audio, format: Format) -> None:
    pieces = encoded(utterance, format, 24_000)
    giving = [index for index, piece in enumerate(pieces) if piece]
    assert giving[0] <= 1
    assert max(later - earlier for earlier, later in pairwise(giving)) <= 3  # a piece is 0.1 s


def test_pcm_at_another_rate_keeps_its_length(utterance: Audio) -> None:
    data = b"".join(encoded(utterance, "pcm", 24_000))
    assert len(data) / 2 / 24_000 == pytest.approx(utterance.seconds, abs=0.01)


def test_audio_that_changes_its_rate_in_mid_stream_goes_on(utterance: Audio) -> None:
    encoder = Encoder("flac", 24_000)
    data = encoder.feed(utterance) + encoder.feed(Audio.silence(1.0, 24_000)) + encoder.feed(utterance)
    back = decode(data + encoder.finish(), 16_000, 60.0)
    assert back.seconds == pytest.approx(2 * utterance.seconds + 1.0, abs=0.02)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_of_nothing_ends_well(format: Format) -> None:
    encoder = Encoder(format, 24_000)
    encoder.feed(Audio(b"", 24_000))
    encoder.finish()


def test_resampling_in_pieces_is_resampling_whole(utterance: Audio) -> None:
    resampler = Resampler(24_000)
    pieces = b"".join(
        resampler.feed(Audio(utterance.pcm[at : at + 640], 16_000)).pcm for at in range(0, len(utterance.pcm), 640)
    )
    whole = Resampler(24_000)
    assert pieces + resampler.finish().pcm == whole.feed(utterance).pcm + whole.finish().pcm


CONTAINERS = {
    "webm": ("webm", "libopus", 48_000, "mono"),
    "mka": ("matroska", "pcm_s16le", 44_100, "stereo"),
    "m4a": ("mp4", "aac", 44_100, "stereo"),
    "mp3": ("mp3", "libmp3lame", 44_100, "stereo"),
    "ogg": ("ogg", "libopus", 48_000, "stereo"),
    "vorbis": ("ogg", "vorbis", 48_000, "stereo"),
    "flac": ("flac", "flac", 16_000, "mono"),
    "wav": ("wav", "pcm_s16le", 44_100, "stereo"),
    "float wav": ("wav", "pcm_f32le", 48_000, "mono"),
    "telephone wav": ("wav", "pcm_mulaw", 8_000, "mono"),
}


def contained(audio: Audio, container: str) -> bytes:
    """As other programs write it, with going back to fill in lengths."""
    muxer, codec, rate, layout = CONTAINERS[container]
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as output:
        options = {"strict": "experimental"} if codec == "vorbis" else {}
        stream = output.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(stream, av.audio.stream.AudioStream)
        frame = av.AudioFrame("s16", "mono", audio.samples)
        frame.planes[0].update(audio.pcm)
        frame.sample_rate = audio.rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_others_wrote_is_read(utterance: Audio, container: str) -> None:
    back = decode(contained(utterance, container), 16_000, 60.0)
    assert back.seconds == pytest.approx(utterance.seconds, abs=0.15)
    assert likeness(utterance, back) > 0.97


def test_a_file_cut_short_gives_what_is_there(utterance: Audio) -> None:
    for container in ("wav", "mp3", "ogg", "webm", "flac"):
        data = contained(utterance, container)
        back = decode(data[: len(data) // 2], 16_000, 60.0)
        assert 0.3 * utterance.seconds < back.seconds < 0.7 * utterance.seconds, container


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no audio at all",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"OggS" + bytes(100),
        b"fLaC" + bytes(100),
        b"ID3" + bytes(1000),
        b"\xff\xfb\x90\x00" + bytes(range(256)) * 8,
        b"\x1aE\xdf\xa3" + bytes(100),
        b"\x00\x00\x00\x20ftypM4A " + bytes(100),
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        wav_header(16_000, 0),
        wav_header(1, 1000) + bytes(2000),
        wav_header(4_000_000, 1000) + bytes(2000),
    ],
)
def test_what_is_no_audio_says_so(data: bytes) -> None:
    with pytest.raises(BadAudio):
        decode(data, 16_000, 60.0)


def test_a_small_file_of_many_hours_is_stopped_at_the_limit() -> None:
    encoder = Encoder("flac", 16_000)
    silence = Audio.silence(60.0, 16_000)
    data = b"".join(encoder.feed(silence) for _ in range(30)) + encoder.finish()
    assert len(data) < 500_000
    taken: list[Audio] = []
    with pytest.raises(BadAudio, match="longer than 120 s"):
        taken.extend(decoded(data, 16_000, 120.0))
    assert sum(piece.seconds for piece in taken) <= 120.0


def test_decoding_stops_when_told_to(utterance: Audio) -> None:
    data = contained(Audio(utterance.pcm * 4, 16_000), "mp3")
    pieces = decoded(data, 16_000, 600.0, lambda: True)
    assert sum(piece.seconds for piece in pieces) < 2.0


def test_a_picture_on_the_cover_is_not_in_the_way(utterance: Audio) -> None:
    data = contained(utterance, "mp3")
    tag = b"APIC" + struct.pack(">I", 2000) + b"\0\0" + b"\0image/png\0\3\0" + bytes(2000 - 13)
    size = len(tag)
    id3 = b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + tag
    assert decode(id3 + data, 16_000, 60.0).seconds == pytest.approx(utterance.seconds, abs=0.15)


def test_a_header_is_read_as_it_was_written() -> None:
    data = wav_header(22_050, 3) + bytes(6)
    assert Wav.parse(data) == Wav(22_050, 1, 16, 1, 44, 50)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnframes()) == (22_050, 3)


def test_a_header_without_a_length_takes_what_is_there() -> None:
    data = wav_header(16_000) + bytes(7)
    assert int.from_bytes(data[40:44], "little") == UNKNOWN
    wav = Wav.parse(data)
    assert wav is not None
    assert (wav.start, wav.end) == (44, 50)


def test_other_chunks_are_passed_over() -> None:
    data = wav_header(16_000, 2)
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    wav = Wav.parse(data[:36] + odd + data[36:] + bytes(4))
    assert wav is not None
    assert wav.end - wav.start == 4


@pytest.mark.parametrize("size", range(0, 44, 4))
def test_half_a_header_is_none(size: int) -> None:
    assert Wav.parse(wav_header(16_000, 2)[:size]) is None


def test_first_bytes_name_the_format() -> None:
    assert [sniff(head) for head in (b"\xff\xf1\x50", b"\xff\xfb\x90", b"ID3\x04", b"abc")] == [
        "aac",
        "mp3",
        "mp3",
        None,
    ]


def test_wav_and_pcm_do_without_av() -> None:
    program = (
        "import sys; from gateway.contract.encoding import *; from gateway.contract.audio import Audio\n"
        "e = Encoder('wav', 16000); d = e.feed(Audio.silence(1.0, 16000)) + e.finish()\n"
        "assert decode(d, 16000, 60.0).samples == 16000\n"
        "assert not {'av', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
