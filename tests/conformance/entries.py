"""One entry for each provider and kind."""

from __future__ import annotations

import wave
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast, get_args

import pytest
from _pytest.mark import ParameterSet

from gateway.contract.audio import Audio
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Kind
from providers import (
    anthropic,
    assemblyai,
    deepgram,
    fake,
    gemini,
    gladia,
    litellm,
    local_llm,
    local_stt,
    local_tts,
    openai,
    openai_compatible,
    speechmatics,
)
from tests import anthropic_scripts as anthropic_says
from tests import gemini_scripts
from tests.conformance.openai_audio_entries import OPENAI_AUDIO
from tests.conformance.sarvam_entries import SARVAM
from tests.conformance.soniox_entries import SONIOX
from tests.conformance.stages import Entry, FakeStage, Scene, in_worker, over_http, over_socket
from tests.conformance.voices_entries import VOICES
from tests.evidence import EVIDENCE, rests_on
from tests.fakes.assemblyai import AssemblyAI
from tests.fakes.base import Behaviour, Fake
from tests.fakes.deepgram import Deepgram
from tests.fakes.gemini_live import GeminiTalks
from tests.fakes.gladia import Gladia
from tests.fakes.speechmatics import Speechmatics
from tests.needs import ROOT
from tests.sounds import tone
from tests.upstream_scripts import error
from tests.upstreams import Exchange, Script


async def _echoes_key(exchange: Exchange) -> None:
    key = exchange.request.headers["authorization"]
    said = error(f"I cannot read {key}", "invalid_request_error", key.removeprefix("Bearer "), extra=key)
    await exchange.answer(400, said, {"x-echo": key, "set-cookie": f"session={key}"})


OPENAI: Mapping[Scene, Script | str] = {
    "answers": "ok",
    "endless": "endless",
    "silent": "silent",
    "headers-only": "headers-only",
    "stalls": "stalls",
    "unauthorized": "401",
    "rate-limited": "429",
    "no-quota": "no-quota",
    "too-long": "context-too-long",
    "refuses": "content-policy",
    "server-error": "503",
    "refused-connection": "never played",
    "hangs-up-first": "hang-up",
    "hangs-up-mid": "dies",
    "garbage": "garbage",
    "echoes-key": _echoes_key,
}

_GEMINI: Mapping[Scene, str] = {
    "answers": "ok",
    "endless": "endless",
    "silent": "silent",
    "headers-only": "headers-only",
    "stalls": "stalls",
    "unauthorized": "bad-key",
    "rate-limited": "429",
    "no-quota": "no-quota",
    "too-long": "too-long",
    "refuses": "blocked",
    "server-error": "503",
    "refused-connection": "ok",
    "hangs-up-first": "hang-up",
    "hangs-up-mid": "dies",
    "garbage": "garbage",
    "echoes-key": "echoes-key",
}
GEMINI = {scene: gemini_scripts.SCRIPTS[name] for scene, name in _GEMINI.items()}


async def _echoes_anthropic_key(exchange: Exchange) -> None:
    key = exchange.request.headers["x-api-key"]
    said = anthropic_says.error(f"messages: I cannot read {key}", key, details={"error_code": key}, extra=key)
    await exchange.answer(400, said, {"x-echo": key, "request-id": key})


ANTHROPIC: Mapping[Scene, Script | str] = {
    "answers": anthropic_says.ok(),
    "endless": anthropic_says.endless(),
    "silent": "silent",
    "headers-only": "headers-only",
    "stalls": anthropic_says.stalls(),
    "unauthorized": anthropic_says.NAMED["401"],
    "rate-limited": anthropic_says.NAMED["429"],
    "no-quota": anthropic_says.NAMED["402"],
    "too-long": anthropic_says.NAMED["too-long"],
    "refuses": anthropic_says.NAMED["refuses"],
    "server-error": anthropic_says.NAMED["529"],
    "refused-connection": "never played",
    "hangs-up-first": "hang-up",
    "hangs-up-mid": anthropic_says.dies(),
    "garbage": "garbage",
    "echoes-key": _echoes_anthropic_key,
}

SOCKET: Mapping[Scene, Behaviour] = {
    "answers": Behaviour(),
    "endless": Behaviour(trouble="endless"),
    "silent": Behaviour(stall_after=0.0),
    "stalls": Behaviour(stall_after=1.0),
    "unauthorized": Behaviour(trouble="unauthorized"),
    "rate-limited": Behaviour(trouble="rate-limited"),
    "no-quota": Behaviour(trouble="no-quota"),
    "server-error": Behaviour(trouble="broken"),
    "refused-connection": Behaviour(),
    "hangs-up-first": Behaviour(drop_after=0.0),
    "hangs-up-mid": Behaviour(drop_after=1.0),
    "garbage": Behaviour(trouble="garbage"),
}
"""Of fakes of WebSocket protocols: the words for troubles that all of them know."""
_SAYS: Mapping[Scene, Behaviour] = {
    **SOCKET,
    "refuses": Behaviour(trouble="bad-text"),
    "echoes-key": Behaviour(trouble="echoes-key"),
}
_HEARS: Mapping[Scene, Behaviour] = {
    **SOCKET,
    "refuses": Behaviour(trouble="bad-audio"),
    "echoes-key": Behaviour(trouble="echoes-key"),
}

FAKE: Mapping[Scene, str] = {
    "answers": "words-6",
    "endless": "words-1000000+tick-5ms",
    "silent": "hang",
    "stalls": "hang-after-2",
    "unauthorized": "error-401",
    "rate-limited": "error-429+retry-2s",
    "no-quota": "error-402",
    "too-long": "error-413",
    "refuses": "error-400",
    "server-error": "error-503",
    "hangs-up-mid": "cut-after-2",
    "garbage": "garbage",
}


_LIVE: Mapping[Scene, Behaviour] = {
    **{
        scene: behaviour for scene, behaviour in SOCKET.items() if scene != "rate-limited"
    },  # no close says for how long
    "silent": Behaviour(trouble="silent"),
    "stalls": Behaviour(stall_after=0.3),
    "server-error": Behaviour(trouble="server-error"),
    "hangs-up-first": Behaviour(trouble="hangs-up-first"),
    "hangs-up-mid": Behaviour(drop_after=0.3),
    "refuses": Behaviour(trouble="refuses"),
    "echoes-key": Behaviour(trouble="echoes-key"),
}


def _live(settings: Settings) -> gemini.Provider:
    assert settings.base_url is not None
    return gemini.Provider(replace(settings, base_url=settings.base_url.replace("ws", "http", 1)))


def _fake(kind: Kind, inputs: list[Input]) -> Entry:
    @asynccontextmanager
    async def stage() -> AsyncGenerator[FakeStage]:
        yield FakeStage(fake.Provider(Settings("acme")), FAKE)

    return Entry("fake", kind, frozenset(FAKE), stage, inputs=lambda: inputs)


def _utterance() -> list[Input]:
    with wave.open(str(ROOT / "tests" / "data" / "speech" / "k02_kokoro_am_michael.wav")) as file:
        return [Audio(file.readframes(file.getnframes()), file.getframerate())]


_WORKER: frozenset[Scene] = frozenset({"answers", "endless", "killed"})
_TEXT: list[Input] = ["Is anybody there? ", "This takes some time to say, and a little more after that."]
_SOUND: list[Input] = [Audio(tone(300, 1.0, 16_000).tobytes(), 16_000)] * 4

_LITELLM = over_http(litellm.Provider, OPENAI, "openai/model-1")

_WARNS = (
    "ignore:Accessing the 'model_:DeprecationWarning",
    "ignore:Item '.*' on TypedDict:UserWarning",
    "ignore:coroutine 'OpenAIChat:RuntimeWarning",
)
"""Of LiteLLM's: a field that pydantic moved, one that it does not protect, what it has not begun of a cancelled request."""


def _ear(name: str, build: Callable[[Settings], object], upstream: type[Fake], model: str) -> Entry:
    """Of those whose raw samples are never refused: there is nothing in them to decode."""
    stage = over_socket(build, upstream, SOCKET, model)
    return Entry(name, "stt", frozenset(SOCKET), stage, "wire", lambda: _SOUND[:2])


ENTRIES = [
    Entry("openai_compatible", "llm", frozenset(OPENAI), over_http(openai_compatible.Provider, OPENAI), "wire"),
    Entry("openai", "llm", frozenset(OPENAI), over_http(openai.Provider, OPENAI), "wire"),
    Entry("gemini", "llm", frozenset(GEMINI), over_http(gemini.Provider, GEMINI), "wire"),
    Entry(
        "gemini",
        "s2s",
        frozenset(_LIVE),
        over_socket(_live, GeminiTalks, _LIVE, "gemini-live-2.5-flash"),
        "wire",
        lambda: _SOUND,
    ),
    Entry("anthropic", "llm", frozenset(ANTHROPIC), over_http(anthropic.Provider, ANTHROPIC), "wire"),
    Entry("litellm", "llm", frozenset(OPENAI), _LITELLM, "wire", warns=_WARNS),
    *SARVAM,
    *OPENAI_AUDIO,
    *SONIOX,
    *VOICES,
    _fake("llm", []),
    _fake("tts", _TEXT),
    _fake("stt", _SOUND),
    _fake("s2s", _SOUND),
    Entry(
        "deepgram_flux",
        "stt",
        frozenset(_HEARS),
        over_socket(deepgram.Provider, Deepgram, _HEARS, "flux-general-en"),
        "wire",
        lambda: _SOUND,
    ),
    Entry(
        "deepgram",
        "stt",
        frozenset(_HEARS),
        over_socket(deepgram.Provider, Deepgram, _HEARS, "nova-3"),
        "wire",
        lambda: _SOUND,
    ),
    Entry(
        "deepgram",
        "tts",
        frozenset(_SAYS),
        over_socket(deepgram.Provider, Deepgram, _SAYS, "aura-2-thalia-en", spare=1),
        "wire",
        lambda: _TEXT,
    ),
    _ear("assemblyai", assemblyai.Provider, AssemblyAI, "universal-streaming-english"),
    Entry(
        "gladia",
        "stt",
        frozenset(_HEARS),
        over_socket(gladia.Provider, Gladia, _HEARS, "solaria-1"),
        "wire",
        lambda: _SOUND,
    ),
    Entry(
        "speechmatics",
        "stt",
        frozenset(_HEARS),
        over_socket(speechmatics.Provider, Speechmatics, _HEARS, "enhanced"),
        "wire",
        lambda: _SOUND,
    ),
    Entry("local_llm", "llm", _WORKER, in_worker(local_llm.Provider, "smollm2"), "models", tokens=64),
    Entry("local_tts", "tts", _WORKER, in_worker(local_tts.Provider, "joe"), "models", lambda: _TEXT),
    Entry("local_stt", "stt", _WORKER, in_worker(local_stt.Provider, "moonshine"), "models", _utterance),
]

assert set(OPENAI) | {"killed"} == set(get_args(Scene)), "every scene is played by somebody"


def playing(*scenes: Scene) -> list[ParameterSet]:
    """The entries that can play all of them, as parameters of a test."""
    return [pytest.param(entry, id=str(entry), marks=_marks(entry)) for entry in ENTRIES if entry.scenes >= set(scenes)]


def _marks(entry: Entry) -> list[pytest.MarkDecorator]:
    marks = [getattr(pytest.mark, entry.mark)] if entry.mark else []
    vendor = entry.name.partition("_")[0].partition("-")[0]
    if vendor in EVIDENCE:
        marks.append(rests_on(vendor))
    return [*marks, *(pytest.mark.filterwarnings(each) for each in entry.warns)]


def played(*scenes: Scene) -> list[ParameterSet]:
    """Each entry with each of the scenes that it can play."""
    return [
        pytest.param(*found.values, scene, id=f"{found.id}-{scene}", marks=found.marks)
        for scene in scenes
        for found in playing(scene)
    ]


def both_ways(params: list[ParameterSet]) -> list[ParameterSet]:
    """Each with True (streamed) added; those of an llm once more with False (the answer in one piece)."""
    return [
        pytest.param(*found.values, stream, id=f"{found.id}-{'streamed' if stream else 'whole'}", marks=found.marks)
        for found in params
        for stream in ((True, False) if cast(Entry, found.values[0]).kind == "llm" else (True,))
    ]
