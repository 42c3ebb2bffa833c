"""Soniox's entries: one for each kind, against its fake."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.contract.requests import Input
from providers import soniox
from tests.conformance.speech import spoken
from tests.conformance.stages import Entry, Scene, over_socket
from tests.fakes.base import Behaviour
from tests.fakes.soniox import Soniox

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

SONIOX = [
    Entry("soniox", "stt", frozenset(_STT), over_socket(soniox.Provider, Soniox, _STT, "stt-rt-v5"), "wire", spoken),
    Entry(
        "soniox",
        "tts",
        frozenset(_TTS),
        over_socket(soniox.Provider, Soniox, _TTS, "tts-rt-v1", 1),
        "wire",
        lambda: _TEXT,
    ),
]
