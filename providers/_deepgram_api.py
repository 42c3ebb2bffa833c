"""Deepgram: where it is, who asks, what its refusals mean, and what it speaks.

Refusals of an upgrade or a file are HTTP statuses with a body ({err_code, err_msg} or {category, message}) and a `dg-error` header;
a session is refused by its close: 1008 with DATA-..., 1011 with NET-... in the reason (Deepgram's documentation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import orjson

from gateway.contract.errors import ProviderError, Refused, Unavailable
from gateway.contract.provider import Settings
from gateway.contract.websocket import of_status
from providers._openai_errors import DETAIL_LIMIT, retry_after, safe_word, without

BASE = "wss://api.deepgram.com"
_SECURE = {"wss": "https", "ws": "http", "https": "https", "http": "http"}


def _tags(words: str) -> frozenset[str]:
    return frozenset(words.split())


# developers.deepgram.com/docs/models-languages-overview and its changelog up to 2026-08-30.
NOVA_3 = _tags(
    "af ar be bg bn bs ca cs da da-DK de de-CH el en en-AU en-GB en-IN en-NZ en-US es es-419 et fa fi fr fr-CA gu gu-IN he hi hr"
    " hu hy id it ja ka kn ko ko-KR lt lv mk mr ms ne nl nl-BE no pa pa-IN pl pt pt-BR pt-PT ro ru sk sl sr sv sv-SE ta te th"
    " th-TH tl tr uk ur vi zh zh-CN zh-HK zh-Hans zh-Hant zh-TW"
)
NOVA_2 = _tags(
    "bg ca cs da da-DK de de-CH el en en-AU en-GB en-IN en-NZ en-US es es-419 et fi fr fr-CA hi hu id it ja ko ko-KR lt lv ms nl"
    " nl-BE no pl pt pt-BR pt-PT ro ru sk sv sv-SE th th-TH tr uk vi zh zh-CN zh-HK zh-Hans zh-Hant zh-TW"
)
TEN = _tags("de en es fr hi it ja nl pt ru")
"""What is told apart by those that detect the language: nova-3 with `multi`, flux-general-multi."""
ENGLISH = frozenset({"en"})
LANGUAGES: Mapping[str, frozenset[str]] = {
    "nova-3": NOVA_3,
    "nova-2": NOVA_2,
    "flux-general-multi": TEN,
    "flux-general-en": ENGLISH,
}
"""By the beginning of a model's name. Of others nothing is said: Deepgram decides."""
AURA_LANGUAGES = ("en", "es", "de", "nl", "fr", "it", "ja")


def languages_of(model: str) -> frozenset[str] | None:
    return next((spoken for name, spoken in LANGUAGES.items() if model.startswith(name)), None)


def code_of(language: str, spoken: frozenset[str]) -> str | None:
    """What Deepgram calls it: the tag itself, or its language alone; None where it is not spoken."""
    tag = language.replace("_", "-").lower()
    known = {each.lower(): each for each in spoken}
    return known.get(tag) or known.get(tag.partition("-")[0])


class Api:
    """Raises ValueError for a base_url that is none."""

    def __init__(self, settings: Settings) -> None:
        self.name, self._key = settings.name, settings.key
        parts = urlsplit(settings.base_url or BASE)
        if parts.scheme not in _SECURE or not parts.netloc:
            raise ValueError("base_url is to begin with wss://, ws://, https:// or http://")
        http = _SECURE[parts.scheme]
        self._http = (http, parts.netloc, parts.path.rstrip("/"))
        self._ws = (http.replace("http", "ws"), *self._http[1:])
        self.headers = {} if self._key is None else {"authorization": f"Token {self._key.reveal()}"}

    @property
    def known(self) -> bool:
        """Whether there is a key, or an address of one's own that may need none."""
        return self._key is not None or self._http[1] != urlsplit(BASE).netloc

    def socket(self, path: str, query: Mapping[str, object]) -> str:
        return _url(self._ws, path, query)

    def file(self, path: str, query: Mapping[str, object]) -> str:
        return _url(self._http, path, query)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes, asked: bool = False) -> ProviderError:
        """`asked`: the caller's own data went with it, so that a 400 may be its fault."""
        code, words = _read(body)
        told = without(self._key, words or headers.get("dg-error", ""))
        code = safe_word(code, self._key)
        if status in (400, 422):
            # What is in an address is the configuration's, or may be good for another target: a model, a language, a rate.
            if not (asked and _of_audio(told)):
                return Unavailable(str(status), self.name, status, code=code)
            return Refused(str(status), self.name, status, code=code, detail=told[:DETAIL_LIMIT])
        error = of_status(self.name, status)
        error.retry_after = retry_after(headers) if status == 429 else None
        error.code = code
        return error

    def closed(self, code: int | None, reason: str) -> ProviderError:
        """A session that was closed before its time."""
        if code is None:
            return Unavailable("the connection was lost", self.name)
        word = safe_word(reason.partition(" ")[0].strip(":.,"), self._key)
        if word is not None and word.startswith("DATA-"):
            detail = without(self._key, reason)[:DETAIL_LIMIT]
            return Refused(f"closed with {code} ({word})", self.name, code, code=word, detail=detail)
        return Unavailable(f"closed with {code}" + (f" ({word})" if word else ""), self.name, code, code=word)

    def said(self, message: Mapping[str, object]) -> ProviderError:
        """An Error frame."""
        code = safe_word(_text(message.get("code")) or _text(message.get("variant")), self._key)
        words = without(self._key, _text(message.get("description")) or _text(message.get("message")))
        if code is not None and code.startswith("DATA-"):
            return Refused(f"an error ({code})", self.name, code=code, detail=words[:DETAIL_LIMIT] or code)
        return Unavailable(f"an error ({code})" if code else "an error", self.name, code=code)

    def read(self, frame: str | bytes) -> dict[str, Any]:
        """A frame of JSON. Raises Unavailable for anything else."""
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise Unavailable("its frame is no message", self.name)
        return message


def _url(base: tuple[str, str, str], path: str, query: Mapping[str, object]) -> str:
    told: dict[str, object] = {}
    for name, value in query.items():
        if value is not None:
            told[name] = str(value).lower() if isinstance(value, bool) else value
    return urlunsplit((base[0], base[1], base[2] + path, urlencode(told, doseq=True), ""))


def _read(body: bytes) -> tuple[str | None, str]:
    """The code and the words of an error's body."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, body.decode("utf-8", "replace")
    if not isinstance(said, dict):
        return None, ""
    return _text(said.get("err_code") or said.get("category")) or None, _text(
        said.get("err_msg") or said.get("message")
    )


def _of_audio(words: str) -> bool:
    """Deepgram's words for a file that it cannot read."""
    return "audio" in words.lower() or "corrupt" in words.lower()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
