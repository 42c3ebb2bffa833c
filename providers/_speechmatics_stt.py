"""Speechmatics' real-time speech to text: one session as a pure codec.

Sound is taken once recognition has started. Results are words and marks one by one, final after `max_delay`; a mark may come later
than the word that it belongs to, so the last word waits for the next. A Commit is a ForceEndOfUtterance, answered by the
results and an EndOfUtterance. Times are seconds of the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, ProviderEvent, Ready, SpeechStarted, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._cleared import Cleared
from providers._commits import Commits
from providers._messages import read
from providers._sound_clock import SoundClock
from providers._speechmatics_errors import closed, said

KEEP_ALIVE = 1800.0
"""Seconds. A session without sound for an hour is closed, pings or not."""
SILENCE = 0.1
PATIENCE = 1.0
"""Seconds for the answer to a ForceEndOfUtterance: what the vendor's own client for voice agents waits. It names about 0.25."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A word with the marks after it. `word` in Speechmatics' seconds; `glued`: no space goes before it."""

    word: Word
    glued: bool
    language: str | None
    speaker: str | None


class Hearing:
    """Implements duplex.Codec and Patient. `config`: what StartRecognition says beside the sound's format."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, provider: str, config: Mapping[str, Any], request: TranscribeRequest) -> None:
        self._provider, self._config, self._request = provider, config, request
        self._server = request.turns == "server"
        self._clock = SoundClock(request.rate)
        self._commits = Commits(PATIENCE)
        self._early: deque[Frame] = deque()  # until recognition has started
        self._started = False
        self._sent = 0  # frames of sound
        self._fresh = False  # there is sound that was not committed
        self._cleared, self._ended = Cleared(), 0.0  # as in Speechmatics' seconds, when the last Commit or Clear came
        self._held: list[_Said] = []  # final words that are not told yet
        self._open = False  # something of the turn was heard
        self._space = " "
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        return self._commits.wait

    def late(self) -> Iterator[ProviderEvent]:
        if self._commits.give_up():
            yield from self._tell(ends=True)

    def begin(self) -> Iterator[Frame]:
        sound = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": self._request.rate}
        yield _text(message="StartRecognition", audio_format=sound, **self._config)

    def put(self, item: Input) -> Iterator[Frame]:
        for frame in self._frames(item):
            if self._started:
                yield frame
            else:
                self._early.append(frame)

    def end(self) -> Iterator[Frame]:
        frame = _text(message="EndOfStream", last_seq_no=self._sent)
        if self._started:
            yield frame
        else:
            self._early.append(frame)

    def idle(self) -> Iterator[Frame]:
        if self._started:
            self._sent += 1
            yield self._clock.pad(SILENCE)

    def hear(self, frame: Frame) -> Iterator[Frame | ProviderEvent]:
        message = read(self._provider, frame)
        try:
            match message.get("message"):
                case "RecognitionStarted":
                    yield from self._start(message)
                case "AddPartialTranscript":
                    yield from self._partial(self._words(message["results"]))
                case "AddTranscript":
                    yield from self._final(self._words(message["results"]))
                case "EndOfUtterance":
                    yield from self._end(float(message["metadata"]["end_time"]))
                case "EndOfTranscript":
                    yield from self._over()
                case "Error":
                    raise said(self._provider, message.get("type"))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise Unavailable("its message has another shape", self._provider) from None

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise closed(self._provider, code)

    def _start(self, message: dict[str, Any]) -> Iterator[Frame | ProviderEvent]:
        self._space = message.get("language_pack_info", {}).get("word_delimiter", " ")
        yield Ready()
        while self._early:
            yield self._early.popleft()
        self._started = True

    def _frames(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm) if pcm:
                self._clock.add(item)
                self._fresh = True
                self._sent += 1
                yield pcm
            case Commit() | Clear():
                fresh, self._fresh = self._fresh, False
                at, commit = self._clock.sent, isinstance(item, Commit)
                if not commit:
                    self._cleared.add(self._ended, at)
                self._ended = at
                if fresh or commit:
                    self._commits.add(at, turn=commit, told=fresh)
                if fresh:
                    yield _text(message="ForceEndOfUtterance", timestamp=round(at, 3))

    def _words(self, results: Sequence[dict[str, Any]]) -> list[_Said]:
        """Of what was not cleared. A mark is part of the word before it; one that comes first is a word of its own."""
        words: list[_Said] = []
        for result in results:
            one = result["alternatives"][0]
            word = Word(str(one["content"]), float(result["start_time"]), float(result["end_time"]))
            glued = result.get("attaches_to") in ("previous", "both")
            if words and glued:
                last = words[-1]
                words[-1] = replace(last, word=replace(last.word, text=last.word.text + word.text))
            elif not self._cleared.has(word):
                words.append(_Said(word, glued, one.get("language"), one.get("speaker")))
        return words

    def _partial(self, words: list[_Said]) -> Iterator[ProviderEvent]:
        """What is final and not told yet is part of it."""
        yield from self._begun(words)
        if words and self._request.partials:
            heard = [*self._held, *words]
            yield Transcript(self._joined(heard), language=_language(heard, self._request.language))

    def _final(self, words: list[_Said]) -> Iterator[ProviderEvent]:
        yield from self._begun(words)
        if self._held and words and words[0].glued:
            last, mark = self._held[-1], words.pop(0)
            self._held[-1] = replace(last, word=replace(last.word, text=last.word.text + mark.word.text))
        if words:
            words, self._held = [*self._held, *words[:-1]], words[-1:]
            yield from self._told(words)

    def _begun(self, words: list[_Said]) -> Iterator[ProviderEvent]:
        if words and not self._open:
            self._open = True
            if self._server:
                yield SpeechStarted(self._clock.ours(words[0].word.start))

    def _end(self, end: float) -> Iterator[ProviderEvent]:
        """Of an utterance: asked for, or found by Speechmatics."""
        if self._commits.waiting:
            *before, ends = self._commits.answered(end) or [False]
            for _ in filter(None, before):
                yield Transcript("", final=True, ends_turn=True)
        else:
            ends = self._server and self._open
        yield from self._tell(ends)

    def _tell(self, ends: bool) -> Iterator[ProviderEvent]:
        """All that is held."""
        words, self._held, self._open = self._held, [], False
        yield from self._told(words, ends)

    def _told(self, words: list[_Said], ends: bool = False) -> Iterator[ProviderEvent]:
        """One final for each speaker in turn; the last may end the turn."""
        runs = [list(run) for _, run in groupby(words, key=lambda each: each.speaker)] or [[]]
        for number, run in enumerate(runs, 1):
            last = ends and number == len(runs)
            if run or last:
                times = tuple([self._ours(each.word) for each in run])
                language = _language(run, self._request.language)
                yield Transcript(self._joined(run), True, last, times, language, run[0].speaker if run else None)

    def _joined(self, words: list[_Said]) -> str:
        return "".join(each.word.text if each.glued else self._space + each.word.text for each in words).strip()

    def _ours(self, word: Word) -> Word:
        return Word(word.text, self._clock.ours(word.start), self._clock.ours(word.end))

    def _over(self) -> Iterator[ProviderEvent]:
        owed = [self._commits.give_up() for _ in range(len(self._commits))].count(True)
        if self._held or owed:
            yield from self._tell(ends=owed > 0 or self._server)
        for _ in range(owed - 1):
            yield Transcript("", final=True, ends_turn=True)
        yield Usage(seconds=self._clock.put)
        yield Finished()
        self.finished = True


def _language(words: list[_Said], asked: str | None) -> str | None:
    """Of most of the words; where none has its own, what was asked for."""
    told = [each.language for each in words if each.language]
    return max(set(told), key=told.count) if told else asked


def _text(**message: object) -> str:
    return orjson.dumps(message).decode()
