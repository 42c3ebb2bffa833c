"""Sarvam's entries: the realtime endpoint, the older one, and speech, against its fake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.contract.requests import Input
from providers import sarvam
from tests.conformance.speech import spoken
from tests.conformance.stages import Entry, Scene, over_socket
from tests.fakes.base import Behaviour
from tests.fakes.sarvam import Sarvam

_STT: Mapping[Scene, Behaviour] = {
    "answers": Behaviour(),
    "endless": Behaviour(trouble="endless"),
    "silent": Behaviour(trouble="silent"),
    "stalls": Behaviour(stall_after=1.0),
    "unauthorized": Behaviour(trouble="unauthorized"),
    "rate-limited": Behaviour(trouble="rate-limited"),
    "no-quota": Behaviour(trouble="no-quota"),
    "refuses": Behaviour(trouble="bad-audio"),
    "server-error": Behaviour(trouble="server-error"),
    "refused-connection": Behaviour(),
    "hangs-up-first": Behaviour(drop_after=0.0),
    "hangs-up-mid": Behaviour(drop_after=1.0),
    "garbage": Behaviour(trouble="garbage"),
    "echoes-key": Behaviour(trouble="bad-audio"),
}
_TTS = {scene: how for scene, how in _STT.items() if scene not in ("refuses", "echoes-key")}
_TEXT: list[Input] = ["Is anybody there? ", "This takes some time to say, and a little more after that."]
_live = Entry(
    "sarvam",
    "stt",
    frozenset(_STT),
    over_socket(sarvam.Provider, Sarvam, _STT, "saaras:v3-realtime"),
    "wire",
    spoken,
)

SARVAM = [
    _live,
    replace(
        _live,
        name="sarvam-older",
        scenes=_live.scenes - {"stalls", "endless"},  # without partials there is no content before the last
        stage=over_socket(sarvam.Provider, Sarvam, _STT, "saaras:v3"),
    ),
    Entry(
        "sarvam",
        "tts",
        frozenset(_TTS),
        over_socket(sarvam.Provider, Sarvam, _TTS, "bulbul:v3", 1),
        "wire",
        lambda: _TEXT,
    ),
]
