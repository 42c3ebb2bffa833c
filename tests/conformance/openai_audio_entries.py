"""Of OpenAI's shape: speech both ways by HTTP, and its own realtime transcription."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.contract.audio import Audio
from gateway.contract.provider import Settings
from gateway.contract.requests import Input
from providers import openai, openai_compatible
from tests.conformance.stages import Entry, Scene, over_http, over_socket
from tests.fakes.base import Behaviour
from tests.fakes.openai_audio import OpenAIRealtime, http
from tests.fakes.openai_realtime import OpenAITalks, XaiTalks
from tests.sounds import tone
from tests.upstream_scripts import error
from tests.upstreams import Exchange, Script

_TEXT: list[Input] = ["Is anybody there? ", "This takes some time to say, and a little more after that."]
_SOUND: list[Input] = [Audio(tone(300, 1.0, 16_000).tobytes(), 16_000)] * 4
_TROUBLES: tuple[Scene, ...] = (
    "endless",
    "silent",
    "headers-only",
    "unauthorized",
    "rate-limited",
    "no-quota",
    "too-long",
    "refuses",
    "server-error",
    "hangs-up-first",
    "garbage",
)


async def _echoes_key(exchange: Exchange) -> None:
    key = exchange.request.headers["authorization"]
    said = error(f"I cannot read {key}", "invalid_request_error", key.removeprefix("Bearer "), extra=key)
    await exchange.answer(400, said, {"x-echo": key, "set-cookie": f"session={key}"})


_SPEECH: Mapping[Scene, Script | str] = {
    **{trouble: http(Behaviour(trouble=trouble)) for trouble in _TROUBLES},
    "answers": http(),
    "stalls": http(Behaviour(stall_after=0.3)),
    "hangs-up-mid": http(Behaviour(drop_after=0.3)),
    "refused-connection": "never played",
    "echoes-key": _echoes_key,
}
_REALTIME: Mapping[Scene, Behaviour] = {
    "answers": Behaviour(),
    "endless": Behaviour(trouble="endless"),
    "silent": Behaviour(trouble="silent"),
    "stalls": Behaviour(stall_after=0.0),
    "unauthorized": Behaviour(trouble="unauthorized"),
    "no-quota": Behaviour(trouble="no-quota"),
    "server-error": Behaviour(trouble="server-error"),
    "refused-connection": Behaviour(),
    "hangs-up-first": Behaviour(trouble="hangs-up-first"),
    "hangs-up-mid": Behaviour(drop_after=1.0),
    "garbage": Behaviour(trouble="garbage"),
}


_TALKS: Mapping[Scene, Behaviour] = {
    **{
        trouble: Behaviour(trouble=trouble)
        for trouble in _TROUBLES
        # The first two are of HTTP and of requests that have a size; of the third no socket says for how long.
        if trouble not in ("headers-only", "too-long", "rate-limited")
    },
    "answers": Behaviour(),
    "stalls": Behaviour(stall_after=0.3),
    "hangs-up-mid": Behaviour(drop_after=0.3),
    "refused-connection": Behaviour(),
    "echoes-key": Behaviour(trouble="echoes-key"),
}


def _live(settings: Settings) -> openai.Provider:
    assert settings.base_url is not None
    return openai.Provider(replace(settings, base_url=settings.base_url.replace("ws", "http", 1)))


def _hears(name: str, model: str, scenes: frozenset[Scene]) -> Entry:
    return Entry(name, "stt", scenes, over_http(openai_compatible.Provider, _SPEECH, model), "wire", lambda: _SOUND)


def _session(kind: str) -> Callable[[Settings], object]:
    def build(settings: Settings) -> object:
        assert settings.base_url is not None
        url = settings.base_url.replace("ws", "http", 1)
        return openai_compatible.Provider(replace(settings, base_url=url, options={"session": kind}))

    return build


def _talks(name: str, build: Callable[[Settings], object], fake: type[OpenAITalks]) -> Entry:
    stage = over_socket(build, fake, _TALKS, "gpt-realtime")
    return Entry(name, "s2s", frozenset(_TALKS), stage, "wire", lambda: _SOUND)


_SPEAKS = over_http(openai_compatible.Provider, _SPEECH)
_LISTENS = over_socket(_live, OpenAIRealtime, _REALTIME, "gpt-4o-transcribe")

OPENAI_AUDIO = [
    Entry("openai_compatible", "tts", frozenset(_SPEECH), _SPEAKS, "wire", lambda: _TEXT),
    _hears("openai_compatible", "whisper-1", frozenset(_SPEECH) - {"endless"}),  # its answer comes whole
    _hears("openai_compatible_streamed", "gpt-4o-transcribe", frozenset(_SPEECH)),
    Entry("openai", "stt", frozenset(_REALTIME), _LISTENS, "wire", lambda: _SOUND),
    _talks("openai", _live, OpenAITalks),
    _talks("openai_compatible", _session("openai"), OpenAITalks),
    _talks("xai", _session("xai"), XaiTalks),
]
