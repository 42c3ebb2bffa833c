"""Speech of an upstream of OpenAI's shape, both ways: what it can, and by which of its doors.

A live stream is heard over the realtime socket, where there is one; a file is uploaded.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from typing import Any

from gateway.contract.events import Events
from gateway.contract.requests import Input, Request, SpeakRequest, TranscribeRequest
from providers import _openai_speech, _openai_uploads, _options
from providers._languages import lacking
from providers._openai_languages import code
from providers._openai_speech import LONGEST, Voicing
from providers._openai_uploads import FORMS, Form, form_of
from providers._openai_upstream import Upstream

OPTIONS: dict[str, Any] = {"voice": "alloy", "speech_format": "pcm", "longest_text": LONGEST, "transcripts": None}
_LIVE = re.compile(r"gpt-(realtime|live)")
"""Models that are reached over the realtime socket alone."""


class Speech:
    """`options`: OPTIONS and `realtime`, as the row says. Raises ValueError for what can never work."""

    def __init__(self, upstream: Upstream, options: dict[str, Any]) -> None:
        self._upstream, self._realtime = upstream, bool(options["realtime"])
        self._form: Form | None = _options.one_of(options, "transcripts", FORMS)
        format = _options.one_of(options, "speech_format", ("pcm", "wav"))
        self._voicing = Voicing(options["voice"], format, options["longest_text"])

    def cannot(self, model: str, request: Request, spoken: Collection[str] | None) -> str | None:
        """`spoken`: codes of the languages it speaks and understands; None where nobody knows."""
        if not isinstance(request, TranscribeRequest | SpeakRequest):
            return None
        if spoken is not None and request.language is not None and code(request.language) not in spoken:
            return lacking(request.language, spoken)
        if isinstance(request, SpeakRequest):
            return None
        if request.turns == "server" and not self._live(model, request):
            return "it does not tell when a turn is over"
        return _openai_uploads.cannot(model, self._form or form_of(model), request)

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if self._live(model, request):
            from providers._openai_listening import listen  # text alone does without what it needs

            return listen(self._upstream, model, request, inputs)
        return _openai_uploads.transcribe(self._upstream, model, request, inputs, self._form or form_of(model))

    def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        return _openai_speech.speak(self._upstream, model, request, inputs, self._voicing)

    def _live(self, model: str, request: TranscribeRequest) -> bool:
        return bool(_LIVE.match(model)) or (self._realtime and request.partials and not request.translate)
