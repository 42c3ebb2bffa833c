"""What a transcription answers: the finals of a stream as segments, and these as JSON, text, SRT or WebVTT. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import orjson

from gateway.contract.events import AnswerEvent, SpeechEnded, SpeechStarted, Transcript, Usage, Word


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: seconds from the start of the file. None: nobody said when."""

    text: str
    start: float | None
    end: float | None
    words: tuple[Word, ...] = ()
    speaker: str | None = None


@dataclass(slots=True)
class Script:
    """A transcript as it forms. `seconds`: length of the audio."""

    seconds: float
    segments: list[Segment] = field(default_factory=list)
    language: str | None = None
    usage: Usage = field(default_factory=Usage)
    _speakers: dict[str, str] = field(default_factory=dict)
    _began: float | None = None
    _ended: float | None = None

    def add(self, event: AnswerEvent) -> str:
        """The text that this event settles, with the space before it; empty where it settles none."""
        match event:
            case SpeechStarted(at):
                self._began = self._began if self._began is not None else at
            case SpeechEnded(at):
                self._ended = at
            case Usage():
                self.usage = event
            case Transcript(final=True):
                return self._settle(event)
        return ""

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    def timed(self) -> list[tuple[float, float, Segment]]:
        """Segments with a start and an end each. Where nobody said, they share the gap by their lengths."""
        placed: list[tuple[float, float, Segment]] = []
        at = 0.0
        for index, segment in enumerate(self.segments):
            start = max(at, segment.start) if segment.start is not None else at
            end = segment.end if segment.end is not None else self._guess(index, start)
            at = min(max(start, end), max(self.seconds, start))
            placed.append((start, at, segment))
        return placed

    def _speaker(self, name: str | None) -> str | None:
        """A, B and so on, as they come; whoever is not known speaks on."""
        if name is None:
            return self.segments[-1].speaker if self.segments else None
        return self._speakers.setdefault(name, _letter(len(self._speakers)))

    def _guess(self, index: int, start: float) -> float:
        following = self.segments[index + 1 :]
        known = next((place for place, each in enumerate(following) if each.start is not None), None)
        until = self.seconds if known is None else following[known].start
        sharing = following if known is None else following[:known]
        lengths = [len(self.segments[index].text), *(len(each.text) for each in sharing)]
        return start + max(0.0, (until or 0.0) - start) * lengths[0] / max(1, sum(lengths))

    def _settle(self, event: Transcript) -> str:
        text = event.text.strip()
        start = event.words[0].start if event.words else self._began
        end = event.words[-1].end if event.words else self._ended
        self._began = self._ended = None
        self.language = self.language or event.language
        if not text:
            return ""
        self.segments.append(Segment(text, start, end, event.words, self._speaker(event.speaker)))
        return text if len(self.segments) == 1 else " " + text


def usage_fields(script: Script) -> dict[str, object]:
    """OpenAI's two forms: tokens where the provider counts them, else seconds."""
    usage = script.usage
    if usage.output_tokens or usage.input_tokens:
        return {
            "type": "tokens",
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "input_token_details": {
                "audio_tokens": usage.audio_input_tokens,
                "text_tokens": usage.input_tokens - usage.audio_input_tokens,
            },
        }
    return {"type": "duration", "seconds": round(usage.seconds or script.seconds, 3)}


def as_json(script: Script) -> bytes:
    return orjson.dumps({"text": script.text, "usage": usage_fields(script)})


def as_verbose_json(script: Script, language: str | None, parts: Collection[str], task: str = "transcribe") -> bytes:
    """`language`: as asked for, where the provider names none; `parts`: `word`, `segment`. What only Whisper knows (`avg_logprob`
    and the like) is there, since typed clients insist, and zero."""
    body: dict[str, object] = {
        "task": task,
        "language": script.language or language or "",
        "duration": round(script.seconds, 3),
        "text": script.text,
        "usage": {"type": "duration", "seconds": round(script.seconds, 3)},
    }
    if "segment" in parts:
        body["segments"] = [
            {
                "id": index,
                "seek": 0,
                "start": round(start, 3),
                "end": round(end, 3),
                "text": segment.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": 0.0,
                "compression_ratio": 0.0,
                "no_speech_prob": 0.0,
            }
            for index, (start, end, segment) in enumerate(script.timed())
        ]
    if "word" in parts:
        body["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for segment in script.segments
            for word in segment.words
        ]
    return orjson.dumps(body)


def as_diarized_json(script: Script) -> bytes:
    body: dict[str, object] = {
        "task": "transcribe",
        "duration": round(script.seconds, 3),
        "text": script.text,
        "segments": [speaker_fields(number, *timed) for number, timed in enumerate(script.timed())],
        "usage": usage_fields(script),
    }
    return orjson.dumps(body)


def speaker_fields(number: int, start: float, end: float, segment: Segment) -> dict[str, object]:
    """A segment as it is in diarized_json, and as an event of its stream."""
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number}",
        "start": round(start, 3),
        "end": round(end, 3),
        "text": segment.text,
        "speaker": segment.speaker or "A",
    }


def as_srt(script: Script) -> bytes:
    return _cues(script.timed(), ",", numbered=True)


def as_vtt(script: Script) -> bytes:
    return b"WEBVTT\n\n" + _cues(script.timed(), ".", numbered=False)


def _letter(number: int) -> str:
    """A to Z, then AA."""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _cues(timed: Sequence[tuple[float, float, Segment]], mark: str, numbered: bool) -> bytes:
    cues = []
    for number, (start, end, segment) in enumerate(timed, 1):
        head = f"{number}\n" if numbered else ""
        # A line with an arrow would be read as another cue's times.
        text = segment.text.replace("-->", "->")
        cues.append(f"{head}{_stamp(start, mark)} --> {_stamp(end, mark)}\n{text}\n\n")
    return "".join(cues).encode()


def _stamp(seconds: float, mark: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"
