"""Entries of Cartesia, ElevenLabs, Rime and Inworld: one for each kind, against their fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from gateway.contract.requests import Input
from providers import cartesia, elevenlabs, inworld, rime
from tests.conformance.speech import spoken
from tests.conformance.stages import Entry, Scene, Stage, over_socket
from tests.fakes.base import Behaviour
from tests.fakes.cartesia import Cartesia
from tests.fakes.elevenlabs import ElevenLabs
from tests.fakes.inworld import Inworld
from tests.fakes.rime import Rime

_SPEAKS: Mapping[Scene, Behaviour] = {
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
_HEARS: Mapping[Scene, Behaviour] = {
    **_SPEAKS,
    "refuses": Behaviour(trouble="bad-audio"),
    "echoes-key": Behaviour(trouble="echoes-key"),
}
_TEXT: list[Input] = ["Is anybody there? ", "This takes some time to say, and a little more after that."]


def _hears(name: str, stage: Callable[[], AbstractAsyncContextManager[Stage]]) -> Entry:
    return Entry(name, "stt", frozenset(_HEARS), stage, "wire", spoken)


def _speaks(name: str, stage: Callable[[], AbstractAsyncContextManager[Stage]]) -> Entry:
    return Entry(name, "tts", frozenset(_SPEAKS), stage, "wire", lambda: _TEXT)


VOICES = [
    _hears("cartesia", over_socket(cartesia.Provider, Cartesia, _HEARS, "ink-2")),
    _speaks("cartesia", over_socket(cartesia.Provider, Cartesia, _SPEAKS, "sonic-3.5", spare=1)),
    _hears("elevenlabs", over_socket(elevenlabs.Provider, ElevenLabs, _HEARS, "scribe_v2_realtime")),
    _speaks("elevenlabs", over_socket(elevenlabs.Provider, ElevenLabs, _SPEAKS, "eleven_flash_v2_5", spare=1)),
    _speaks("rime", over_socket(rime.Provider, Rime, _SPEAKS, "coda", spare=1)),
    _speaks("inworld", over_socket(inworld.Provider, Inworld, _SPEAKS, "inworld-tts-1.5-max", spare=1)),
]
