"""Moonshine base-en in a worker process: English speech to text, whole segments at a time (onnxruntime).

A job's payload is s16le mono; its fields are `rate` and `rest`: what to do with the last segment, which may go on
("final": it does not; "open": transcribe it, it may change; "leave": only those before it). Its pieces are
`{"text", "until", "open"}`, in order; `until`: samples from the start of the payload, at its own rate.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from gateway.contract.worker_frames import Engine, Fields, Job
from providers._moonshine_graph import faster
from providers._resample import from_pcm, resample
from providers._segments import RATE, Samples, cuts, trimmed

START, END = 1, 2  # tokens
TOKENS_PER_SECOND = 6.5  # the authors' cap: more is a loop
SHORTEST = RATE // 2
NOTHING_SAID = 0.85
"""Probability of an immediate end above which there was no speech. Measured: noise, hum, clicks and silence 0.90-1.00;
speech below 0.01, and 0.70 at most behind four seconds of silence."""


def open_engine(options: Fields) -> Engine:
    """Options: the paths `encoder`, `decoder` and `tokenizer`, and `threads`."""
    for name in ("encoder", "decoder", "tokenizer"):
        os.stat(options[name])
    return _Moonshine(options)


class _Moonshine:
    def __init__(self, options: Fields) -> None:
        self._encoder = _session(options["encoder"], options["threads"])
        self._decoder = _session(options["decoder"], options["threads"])
        with open(options["tokenizer"], "rb") as file:
            self._vocabulary = _vocabulary(file.read())
        inputs = self._decoder.get_inputs()
        self._past = {entry.name: entry.shape for entry in inputs if entry.name.startswith("past_key_values")}
        self._present = [
            output.name.replace("present", "past_key_values") for output in self._decoder.get_outputs()[1:]
        ]

    def run(self, job: Job) -> None:
        rate = job.fields["rate"]
        samples = resample(from_pcm(job.payload), rate, RATE)
        bounds = [*cuts(samples), len(samples)]
        start = 0
        for number, end in enumerate(bounds, 1):
            last = number == len(bounds)
            if last and job.fields["rest"] == "leave":
                return
            text = self._transcribe(samples[start:end], job)
            if job.cancelled():
                return
            until = len(job.payload) // 2 if last else end * rate // RATE
            job.emit({"text": text, "until": until, "open": last and job.fields["rest"] == "open"})
            start = end

    def _transcribe(self, segment: Samples, job: Job) -> str:
        """Empty when there is no speech in it, or when the job was cancelled."""
        speech = trimmed(segment)
        if not len(speech):
            return ""
        speech = np.pad(speech, (0, max(0, SHORTEST - len(speech))))
        heard = self._encoder.run(None, {"input_values": speech[np.newaxis]})[0]
        tokens = self._decode(heard, int(len(speech) / RATE * TOKENS_PER_SECOND) + 8, job)
        return _spelled([self._vocabulary[token] for token in tokens])

    def _decode(self, heard: npt.NDArray[np.float32], most: int, job: Job) -> list[int]:
        past: dict[str, Any] = {
            name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in self._past.items()
        }
        tokens = [START]
        while len(tokens) <= most and not job.cancelled():
            follow = len(tokens) > 1
            given = {
                "input_ids": np.array([tokens[-1:]]),
                "encoder_hidden_states": heard,
                "use_cache_branch": np.array([follow]),
            }
            logits, *present = self._decoder.run(None, given | past)
            scores = logits[0, -1]
            if not follow:
                if _probability(scores, END) > NOTHING_SAID:
                    break
                scores[END] = -np.inf  # it is speech: the model ends at once only by mistake
            token = int(scores.argmax())
            if token == END:
                break
            tokens.append(token)
            # What the decoder keeps of the encoder's output comes from the first step, and is empty from later ones.
            past |= {name: value for name, value in zip(self._present, present) if not (follow and ".encoder." in name)}
        return tokens[1:]


def _session(path: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.x64quantprecision", "1")  # without VNNI, int8 products would overflow
    return onnxruntime.InferenceSession(faster(path), options, providers=["CPUExecutionProvider"])


def _probability(scores: npt.NDArray[np.float32], token: int) -> float:
    powers = np.exp(scores - scores.max())
    return float(powers[token] / powers.sum())


def _vocabulary(raw: bytes) -> list[bytes]:
    """tokenizer.bin: for each token its length (one byte, or two for 128 and more) and its bytes."""
    words, at = [], 0
    while at < len(raw):
        length, at = raw[at], at + 1
        if length >= 128:
            length, at = length - 128 + raw[at] * 128, at + 1
        words.append(raw[at : at + length])
        at += length
    return words


def _spelled(words: list[bytes]) -> str:
    plain = b"".join(word for word in words if not (len(word) > 2 and word.startswith(b"<") and word.endswith(b">")))
    return plain.decode(errors="replace").replace("\u2581", " ").strip()
