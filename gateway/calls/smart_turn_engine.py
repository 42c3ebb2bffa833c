"""smart-turn v3.2 in its worker process (onnxruntime). A job's payload is s16le at 16 kHz; its one piece is `{"finished": p}`.

The model listens as Whisper does: 80 log-mel bands of the last 8 seconds, silence before them where there are fewer,
the whole scaled to mean 0 and variance 1 first. Sources: smart-turn v3 (pipecat, BSD-2) for the input, Whisper's
published front end (25 ms Hann windows every 10 ms, Slaney's mel scale and areas, 8 decades of range) for the bands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from gateway.contract.worker_frames import Engine, Fields, Job

Floats = npt.NDArray[np.float32]

RATE, SAMPLES = 16_000, 8 * 16_000
WINDOW, HOP, BANDS = 400, 160, 80
FRAME, PAUSE = RATE // 50, RATE * 12 // 100


def open_engine(options: Fields) -> Engine:
    """Options: `path` of the ONNX file."""
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = session.inter_op_num_threads = 1
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _SmartTurn(onnxruntime.InferenceSession(options["path"], session, providers=["CPUExecutionProvider"]))


class _SmartTurn:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._bands = mel_bands()

    def run(self, job: Job) -> None:
        samples = np.frombuffer(job.payload[: len(job.payload) // 2 * 2], "<i2").astype(np.float32) / 32768.0
        features = log_mel(samples[: speech_end(samples)], self._bands)
        if not job.cancelled():
            (answer,) = self._session.run(None, {"input_features": features[np.newaxis]})
            job.emit({"finished": float(answer[0, 0])})


def speech_end(samples: Floats) -> int:
    """Where the speech ends, with `PAUSE` after it. The model takes a long pause alone for an ending: k05 of the test
    utterances breaks off, and gives 0.05 after 120 ms of silence, 0.7 after 300 and 0.97 after 600."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    loudness = np.sqrt(np.mean(np.square(frames), axis=1))
    loud = np.flatnonzero(loudness > 0.02 * loudness.max(initial=0.0))
    return (int(loud[-1]) + 1) * FRAME + PAUSE if len(loud) else len(samples)


def log_mel(samples: Floats, bands: Floats) -> Floats:
    """(80, 800): the features of the last 8 seconds of `samples`."""
    samples = samples[-SAMPLES:]
    samples = np.pad(samples, (SAMPLES - len(samples), 0))
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: SAMPLES // HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(windows * hann)) ** 2
    loudness = np.log10(np.maximum(power.astype(np.float32) @ bands, 1e-10)).T
    loudness = np.maximum(loudness, loudness.max() - 8.0)
    features: Floats = ((loudness + 4.0) / 4.0).astype(np.float32)
    return features


def mel_bands() -> Floats:
    """(201, 80): what each frequency gives to each band. Triangles of equal area, evenly spaced in mels."""
    edges = _hertz(np.linspace(0.0, _mel(RATE / 2), BANDS + 2))
    frequencies = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)[:, np.newaxis]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak))
    return (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)


# Slaney's scale: 15 mels up to 1 kHz, then 27 for each factor of 6.4.
def _mel(hertz: float) -> float:
    return hertz * 3.0 / 200.0 if hertz < 1000.0 else 15.0 + float(np.log(hertz / 1000.0)) * 27.0 / float(np.log(6.4))


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp((mels - 15.0) * np.log(6.4) / 27.0))
