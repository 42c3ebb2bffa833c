"""What an OpenAI-shaped upstream says of a file of speech, as events: an answer in one piece, or its stream. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import ProviderEvent, SpeechEnded, SpeechStarted, Transcript, Usage, Word
from providers._openai_languages import told

Failed = Callable[[object], ProviderError]
_SENTENCE = re.compile(r"\S.*?[.!?।](?=\s)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """What was asked about: `start`: seconds of the stream before it; `seconds`: of it; `last`: the turn ends with it."""

    start: float
    seconds: float
    last: bool = True


def whole(body: bytes, provider: str, failed: Failed, piece: Piece) -> list[ProviderEvent]:
    """Of {text}, with {segments}, {words} and {language} where there are any. Raises ProviderError."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unavailable("garbage instead of a transcript", provider) from None
    if isinstance(answer, dict) and answer.get("error"):
        raise failed(answer["error"])
    if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
        raise Unavailable("an answer without a text", provider)
    try:
        return [*_finals(answer, piece), usage(answer.get("usage"), piece.seconds)]
    except (TypeError, ValueError, AttributeError, KeyError):
        raise Unavailable("segments or words that make no sense", provider) from None


def _finals(answer: dict[str, Any], piece: Piece) -> list[ProviderEvent]:
    language = told(answer.get("language")) or _first(answer.get("languages"))
    words = [_word(each, piece) for each in answer.get("words") or []]
    segments = [each for each in answer.get("segments") or [] if str(each["text"]).strip()]
    if not segments:
        return [Transcript(answer["text"].strip(), True, piece.last, tuple(words), language)]
    events: list[ProviderEvent] = []
    for number, segment in enumerate(segments, 1):
        last, end = number == len(segments), piece.start + float(segment["end"])
        here = len(words) if last else sum(word.start < end for word in words)
        said, words = tuple(words[:here]), words[here:]
        if not said:
            events += [SpeechStarted(piece.start + float(segment["start"])), SpeechEnded(end)]
        text, speaker = str(segment["text"]).strip(), _text(segment.get("speaker"))
        events.append(Transcript(text, True, last and piece.last, said, language, speaker))
    return events


class Stream:
    """Implements _openai_upstream.Reader for `transcript.text.*` events. `partials`: what is said so far is wanted; `eager`: so
    is every sentence, as a final, once it is over. Segments, where there are any, are finals of their own."""

    def __init__(self, provider: str, failed: Failed, piece: Piece, partials: bool, eager: bool) -> None:
        self._provider, self._failed, self._piece = provider, failed, piece
        self._partials, self._eager = partials, eager
        self._text = ""  # all of it, so far
        self._settled = 0  # characters given as finals
        self._segments = False
        self.done = False

    @property
    def finished(self) -> bool:
        return self.done

    def take(self, pieces: Iterable[bytes], events: list[ProviderEvent]) -> None:
        for data in pieces:
            if self.done or data.strip() in (b"", b"[DONE]"):
                continue
            try:
                said = orjson.loads(data)
                kind = said.get("type")
            except (orjson.JSONDecodeError, AttributeError):
                raise Unavailable("garbage in its stream", self._provider) from None
            if said.get("error") or kind == "error":
                raise self._failed(said.get("error") or said)
            self._hear(kind, said, events)

    def end(self) -> list[ProviderEvent]:
        """Raises Unavailable where it was cut off."""
        if not self.done:
            raise Unavailable("its stream ended without its end", self._provider)
        return []

    def _hear(self, kind: object, said: dict[str, Any], events: list[ProviderEvent]) -> None:
        match kind:
            case "transcript.text.delta":
                self._text += _text(said.get("delta")) or ""
                if self._eager and not said.get("segment_id"):
                    self._settle(events)
                elif self._partials:
                    events.append(Transcript(self._text[self._settled :].strip()))
            case "transcript.text.segment":
                self._segments, self._text = True, ""
                events += segment(said, self._piece.start, self._provider)
            case "transcript.text.done":
                self.done = True
                language = _first(said.get("languages"))
                rest = "" if self._segments else self._rest(_text(said.get("text")) or "")
                events.append(Transcript(rest, True, self._piece.last, language=language))
                events.append(usage(said.get("usage"), self._piece.seconds))

    def _settle(self, events: list[ProviderEvent]) -> None:
        while (sentence := _SENTENCE.search(self._text, self._settled)) is not None:
            events.append(Transcript(sentence.group(), final=True))
            self._settled = sentence.end()

    def _rest(self, text: str) -> str:
        """What was not settled, by the whole text where that agrees with what was."""
        settled = self._text[: self._settled]
        whole = text if text.startswith(settled) and text else self._text
        return whole[self._settled :].strip()


def segment(said: dict[str, Any], start: float, provider: str) -> list[ProviderEvent]:
    """A stretch of one speaker's. Raises Unavailable."""
    try:
        begins, ends = start + float(said["start"]), start + float(said["end"])
    except (KeyError, TypeError, ValueError):
        raise Unavailable("a segment without its times", provider) from None
    text = (_text(said.get("text")) or "").strip()
    final = Transcript(text, final=True, speaker=_text(said.get("speaker")))
    return [SpeechStarted(begins), SpeechEnded(ends), final] if text else []


def usage(told: object, seconds: float) -> Usage:
    """In tokens or seconds, as it was told; `seconds`: of the audio that was sent."""
    if not isinstance(told, dict):
        return Usage(seconds=seconds)
    if told.get("type") == "tokens" or "input_tokens" in told:
        details = told.get("input_token_details")
        audio = details.get("audio_tokens") if isinstance(details, dict) else 0
        return Usage(
            _count(told.get("input_tokens")),
            _count(told.get("output_tokens")),
            seconds=seconds,
            audio_input_tokens=_count(audio),
        )
    counted = told.get("seconds")
    return Usage(seconds=float(counted) if isinstance(counted, int | float) and counted > 0 else seconds)


def _word(said: dict[str, Any], piece: Piece) -> Word:
    return Word(str(said["word"]).strip(), piece.start + float(said["start"]), piece.start + float(said["end"]))


def _first(languages: object) -> str | None:
    if not isinstance(languages, list) or not languages:
        return None
    first = languages[0]
    return told(first.get("code") or first.get("language") if isinstance(first, dict) else first)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
