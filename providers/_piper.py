"""Piper in a worker process: text to speech, a sentence at a time (piper-tts, GPL-3.0-or-later, which stays in that process).

A job's fields are `text`, `speed` and `rate`; its pieces are `{"rate"}` with s16le mono as the payload, one per sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import onnxruntime
from piper import PiperConfig, PiperVoice, SynthesisConfig

from gateway.contract.worker_frames import Engine, Fields, Job
from providers._resample import resample, to_pcm

LONGEST = 160
"""Characters spoken at once: about ten seconds of speech, most of one of work."""
SPEEDS = (0.25, 4.0)


def open_engine(options: Fields) -> Engine:
    """Options: the paths `voice` and `config`, and `threads`."""
    with open(options["config"], encoding="utf-8") as file:
        config = PiperConfig.from_dict(json.load(file))
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads, session.inter_op_num_threads = options["threads"], 1
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    net = _Stoppable(onnxruntime.InferenceSession(options["voice"], session, providers=["CPUExecutionProvider"]))
    return _Piper(PiperVoice(net, config), net)


class _Stoppable:
    """The session as Piper uses it, but that it can be stopped in mid-sentence from another thread."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.options = onnxruntime.RunOptions()

    def run(self, outputs: None, inputs: dict[str, Any]) -> Any:
        return self._session.run(outputs, inputs, self.options)

    def stop(self) -> None:
        self.options.terminate = True


class _Piper:
    def __init__(self, voice: PiperVoice, net: _Stoppable) -> None:
        self._voice, self._net = voice, net

    def run(self, job: Job) -> None:
        self._net.options = onnxruntime.RunOptions()
        job.when_cancelled(self._net.stop)
        slow, fast = SPEEDS
        speed = min(max(job.fields["speed"], slow), fast)
        how = SynthesisConfig(length_scale=self._voice.config.length_scale / speed)
        for text in pieces(job.fields["text"]):
            for spoken in self._voice.synthesize(text, how):
                if job.cancelled():
                    return
                samples = resample(spoken.audio_float_array, spoken.sample_rate, job.fields["rate"])
                job.emit({"rate": job.fields["rate"]}, to_pcm(samples))


def pieces(text: str) -> Iterator[str]:
    """Texts of at most `LONGEST` characters, cut after a sentence, else after a comma, else between words."""
    # Piper takes what stands in double brackets for phonemes.
    text = re.sub(r"\s+", " ", text.replace("[[", "[ [")).strip()
    while len(text) > LONGEST:
        head = text[: LONGEST + 1]
        ends = [match.end() for match in re.finditer(r"[.!?;:]\s", head)] or [
            m.end() for m in re.finditer(r",\s", head)
        ]
        end = ends[-1] if ends else max(head.rfind(" "), 0) or LONGEST
        yield text[:end].strip()
        text = text[end:].strip()
    if any(character.isalnum() for character in text):
        yield text
