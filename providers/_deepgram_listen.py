"""Deepgram's listen v1 as a pure codec: sound up, results down.

A Commit is a Finalize, answered by results with `from_finalize`. Deepgram sends none where little was left to finalise, so a
commit that is not answered soon is over with what was final by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, ProviderEvent, SpeechStarted, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._commits import Commits
from providers._deepgram_api import Api, code_of, languages_of
from providers._sound_clock import SoundClock

KEEP_ALIVE = 4.0
"""Seconds. Deepgram wants one every 3 to 5, and closes after 10."""
PATIENCE = 0.7
"""Seconds for the answer to a Finalize."""
FIRST_SOUND = 0.1
"""Seconds of silence sent where no sound comes: without any, keep-alives keep nothing alive."""
FINALIZE, KEEP, CLOSE = '{"type":"Finalize"}', '{"type":"KeepAlive"}', '{"type":"CloseStream"}'


def query_of(model: str, request: TranscribeRequest, endpointing: int) -> dict[str, object]:
    """`endpointing`: milliseconds of silence that end a segment."""
    live: dict[str, object] = {
        "encoding": "linear16",
        "sample_rate": request.rate,
        "channels": 1,
        "interim_results": request.partials,
        "vad_events": True,
        # Where the caller ends the turns, a segment that ended by itself would leave nothing to finalise, and no answer.
        "endpointing": endpointing if request.turns == "server" else False,
    }
    if request.turns == "server":
        live |= {"interim_results": True, "utterance_end_ms": max(1000, endpointing)}
    detected = {"language": "multi"} if request.language is None and model.startswith(("nova-3", "nova-2")) else {}
    return {**wanted(model, request), **detected, **live}


def wanted(model: str, request: TranscribeRequest) -> dict[str, object]:
    """Of a session or a file."""
    spoken = languages_of(model)
    language = request.language
    return {
        "model": model,
        "language": language if language is None or spoken is None else code_of(language, spoken),
        "punctuate": True,
        "smart_format": True,
        "diarize": True if request.diarize else None,
        "keyterm" if model.startswith("nova-3") else "keywords": list(request.keywords) or None,
    }


@dataclass(frozen=True, slots=True)
class Said:
    word: Word
    speaker: str | None
    language: str | None


def said_of(word: dict[str, Any], ours: Callable[[float], float]) -> Said:
    """`ours`: the caller's second for Deepgram's."""
    text = str(word.get("punctuated_word") or word["word"])
    speaker = word.get("speaker")
    timed = Word(text, ours(float(word["start"])), ours(float(word["end"])))
    return Said(timed, None if speaker is None else str(speaker), word.get("language"))


def told(said: list[Said], text: str, ends: bool, asked: str | None) -> Iterator[Transcript]:
    """One final for each speaker in turn. `asked`: the language, where no word has its own."""
    runs = [list(run) for _, run in groupby(said, key=lambda each: each.speaker)]
    for run in runs[:-1]:
        words = " ".join(each.word.text for each in run)
        yield Transcript(words, True, False, words_of(run), language_of(run, asked), run[0].speaker)
    last = runs[-1] if runs else []
    if len(runs) > 1:
        text = " ".join(each.word.text for each in last)
    if text or ends:
        yield Transcript(text, True, ends, words_of(last), language_of(last, asked), last[0].speaker if last else None)


def words_of(said: list[Said]) -> tuple[Word, ...]:
    return tuple([each.word for each in said])


def language_of(said: list[Said], asked: str | None) -> str | None:
    """Of most of the words."""
    told = [each.language for each in said if each.language]
    return max(set(told), key=told.count) if told else asked


class Listening:
    """Implements duplex.Codec and duplex.Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, api: Api, request: TranscribeRequest) -> None:
        self.finished = False
        self._api, self._request = api, request
        self._clock = SoundClock(request.rate)
        self._commits = Commits(PATIENCE)
        self._committed = self._cleared = 0.0  # seconds as they count
        self._open = False  # something of the turn is final
        self._ended = False

    @property
    def wait(self) -> Wait | None:
        return self._commits.wait

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterable[Frame]:
        match item:
            case Audio(pcm) if pcm:  # an empty frame ends the session
                self._clock.add(item)
                return (pcm,)
            case Commit() | Clear():
                return self._end_turn(isinstance(item, Commit))
        return ()

    def end(self) -> Iterable[Frame]:
        self._ended = True
        return (CLOSE,)

    def idle(self) -> Iterable[Frame]:
        return (KEEP,) if self._clock.sent else (self._clock.pad(FIRST_SOUND), KEEP)

    def hear(self, frame: Frame) -> Iterable[ProviderEvent]:
        message = self._api.read(frame)
        try:
            match message.get("type"):
                case "Results":
                    return self._results(message)
                case "SpeechStarted":
                    return (SpeechStarted(self._clock.ours(float(message["timestamp"]))),)
                case "UtteranceEnd" if self._request.turns == "server" and self._open:
                    self._open = False
                    return (Transcript("", final=True, ends_turn=True),)
                case "Metadata" if self._ended:
                    return self._over(message)
                case "Error":
                    raise self._api.said(message)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise Unavailable("its message has another shape", self._api.name) from None
        return ()

    def late(self) -> Iterable[ProviderEvent]:
        owed = self._commits.give_up()
        self._open &= not owed
        return _ends([owed])

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise self._api.closed(code, reason)

    def _end_turn(self, commit: bool) -> Iterable[Frame]:
        sound = self._clock.put > self._committed
        self._committed = self._clock.put
        if not commit:
            self._cleared = self._clock.sent
        if sound or commit:
            self._commits.add(self._clock.sent, turn=commit, told=sound)
        return (FINALIZE,) if sound else ()

    def _results(self, message: dict[str, Any]) -> list[ProviderEvent]:
        end = float(message["start"]) + float(message["duration"])
        said, text = self._said(message)
        if not message.get("is_final"):
            self._commits.heard(end)
            partial = text and self._request.partials
            return (
                [Transcript(text, words=words_of(said), language=language_of(said, self._request.language))]
                if partial
                else []
            )
        over: list[bool] = []
        if message.get("from_finalize"):
            *over, ends = self._commits.answered(end) or [False]
        else:
            self._commits.heard(end)
            ends = bool(self._request.turns == "server" and message.get("speech_final") and (text or self._open))
        self._open = not ends and (self._open or bool(text))
        return [*_ends(over), *told(said, text, ends, self._request.language)]

    def _said(self, message: dict[str, Any]) -> tuple[list[Said], str]:
        """The words of what was not cleared, and their text."""
        alternative = message["channel"]["alternatives"][0]
        said = [
            said_of(word, self._clock.ours)
            for word in alternative["words"]
            if word["start"] + word["end"] >= 2 * self._cleared
        ]
        if len(said) < len(alternative["words"]):
            return said, " ".join(each.word.text for each in said)
        cleared = not said and float(message["start"]) < self._cleared
        return said, "" if cleared else str(alternative["transcript"]).strip()

    def _over(self, message: dict[str, Any]) -> list[ProviderEvent]:
        self.finished = True
        owed = [
            Transcript("", final=True, ends_turn=True) for _ in range(len(self._commits)) if self._commits.give_up()
        ]
        return [*owed, Usage(seconds=float(message["duration"])), Finished()]


def _ends(owed: Iterable[bool]) -> list[ProviderEvent]:
    """Of turns of which nothing more is to be said."""
    return [Transcript("", final=True, ends_turn=True) for each in owed if each]
