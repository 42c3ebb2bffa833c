"""VAD: speech is told from silence, by the net where its weights are and by loudness where not."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gateway.calls.silero import CONTEXT, FRAME, Memory, Silero
from gateway.calls.vad import Loudness, Voice, open_vad
from gateway.contract.weights import SILERO

RNG = np.random.default_rng(3)


def samples_of(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def confidences(voice: Callable[[bytes], float], samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> list[float]:
    whole = len(samples) // FRAME * FRAME
    return [voice(frame.tobytes()) for frame in samples[:whole].reshape(-1, FRAME)]


def voiced(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> tuple[float, float]:
    """Where the sound begins and ends, in frames."""
    loud = np.flatnonzero(np.abs(samples) > 800)
    return loud[0] / FRAME, loud[-1] / FRAME


@pytest.mark.models
def test_the_net_finds_where_speech_begins_and_ends(speech: Path) -> None:
    new_voice = open_vad()
    for path in sorted(speech.glob("*.wav")):
        samples = samples_of(path)
        heard = np.flatnonzero(np.array(confidences(new_voice(), samples)) >= 0.5)
        first, last = voiced(samples)
        assert abs(heard[0] - first) <= 4, path
        assert -4 <= heard[-1] - last <= 10, path


@pytest.mark.models
def test_the_net_gives_what_onnxruntime_gives(speech: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(SILERO.path()), providers=["CPUExecutionProvider"])
    net, memory = Silero(SILERO.path()), Memory()
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    samples = samples_of(speech / "k03_kokoro_af_heart.wav").astype(np.float32) / 32768.0
    for frame in samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME):
        window = np.concatenate([context, frame])
        given = {"input": window[np.newaxis], "state": state, "sr": np.array(16_000)}
        expected, state = session.run(None, given)
        assert net.speech(window, memory) == pytest.approx(expected[0, 0], abs=1e-4)
        context = frame[-CONTEXT:]


@pytest.mark.models
def test_what_is_not_speech_is_not_taken_for_it() -> None:
    time = np.arange(16_000 * 3) / 16_000
    nobody = {
        "muted": np.zeros(48_000),
        "noise": RNG.normal(0, 800, 48_000),
        "hum": 2000 * np.sin(2 * np.pi * 50 * time),
        "clicks": np.where(np.arange(48_000) % 9000 == 0, 16_000, 0),
    }
    new_voice = open_vad()
    loudest = {kind: max(confidences(new_voice(), sound.astype(np.int16))) for kind, sound in nobody.items()}
    assert {kind for kind, confidence in loudest.items() if confidence >= 0.5} == set()


@pytest.mark.models
def test_calls_do_not_hear_each_other(speech: Path) -> None:
    new_voice = open_vad()
    samples = samples_of(speech / "k02_kokoro_am_michael.wav")
    alone = confidences(new_voice(), samples)
    ours, theirs = new_voice(), new_voice()
    shared = []
    for frame in samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME):
        shared.append(ours(frame.tobytes()))
        theirs(RNG.integers(-9000, 9000, FRAME).astype(np.int16).tobytes())
    assert shared == alone


@pytest.mark.models
def test_speech_after_a_long_silence_is_heard_at_once(speech: Path) -> None:
    samples = samples_of(speech / "k01_kokoro_af_heart.wav")
    waited = np.concatenate([RNG.normal(0, 30, 60 * FRAME * 30).astype(np.int16), samples])
    heard = np.flatnonzero(np.array(confidences(open_vad()(), waited)) >= 0.5)
    assert heard[0] == pytest.approx(60 * 30 + voiced(samples)[0], abs=4)


@pytest.mark.models
def test_a_frame_of_another_length_is_refused() -> None:
    voice = open_vad()()
    assert isinstance(voice, Voice)
    for frame in (b"", bytes(1022), bytes(2048)):
        with pytest.raises(ValueError, match="512 samples"):
            voice(frame)


@pytest.mark.parametrize("content", [None, b"", b"not a net at all", b"\x3a\x02\x0a\x00"])
def test_without_the_weights_loudness_stands_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, speech: Path, content: bytes | None
) -> None:
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path))
    if content is not None:
        SILERO.path().parent.mkdir(parents=True)
        SILERO.path().write_bytes(content)
    new_voice = open_vad()
    assert isinstance(new_voice(), Loudness)
    samples = samples_of(speech / "k01_kokoro_af_heart.wav")
    heard = np.flatnonzero(np.array(confidences(new_voice(), samples)) >= 0.5)
    first, last = voiced(samples)
    assert abs(heard[0] - first) <= 6
    assert abs(heard[-1] - last) <= 6


def test_loudness_gets_used_to_noise() -> None:
    hiss = RNG.normal(0, 600, 16_000 * 12).astype(np.int16)
    confident = confidences(Loudness(), hiss)
    assert confident[0] >= 0.5
    assert max(confident[-60:]) < 0.5
