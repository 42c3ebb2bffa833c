"""Every vendor of streaming speech: its fake, our provider for it, and a model to ask for."""

from __future__ import annotations

from typing import Any

from providers import assemblyai, cartesia, deepgram, elevenlabs, gladia, inworld, rime, sarvam, soniox, speechmatics
from tests.fakes.assemblyai import AssemblyAI
from tests.fakes.base import Fake
from tests.fakes.cartesia import Cartesia
from tests.fakes.deepgram import Deepgram
from tests.fakes.elevenlabs import ElevenLabs
from tests.fakes.gladia import Gladia
from tests.fakes.inworld import Inworld
from tests.fakes.rime import Rime
from tests.fakes.sarvam import Sarvam
from tests.fakes.soniox import Soniox
from tests.fakes.speechmatics import Speechmatics

Vendor = tuple[type[Fake], Any, str]
EARS: dict[str, Vendor] = {
    "assemblyai": (AssemblyAI, assemblyai.Provider, "universal-streaming-english"),
    "cartesia": (Cartesia, cartesia.Provider, "ink-2"),
    "deepgram": (Deepgram, deepgram.Provider, "nova-3"),
    "deepgram_flux": (Deepgram, deepgram.Provider, "flux-general-en"),
    "elevenlabs": (ElevenLabs, elevenlabs.Provider, "scribe_v2_realtime"),
    "gladia": (Gladia, gladia.Provider, "solaria-1"),
    "sarvam": (Sarvam, sarvam.Provider, "saaras:v3-realtime"),
    "soniox": (Soniox, soniox.Provider, "stt-rt-v5"),
    "speechmatics": (Speechmatics, speechmatics.Provider, "enhanced"),
}
VOICES: dict[str, Vendor] = {
    "cartesia": (Cartesia, cartesia.Provider, "sonic-3.5"),
    "deepgram": (Deepgram, deepgram.Provider, "aura-2-thalia-en"),
    "elevenlabs": (ElevenLabs, elevenlabs.Provider, "eleven_flash_v2_5"),
    "inworld": (Inworld, inworld.Provider, "inworld-tts-1.5-max"),
    "rime": (Rime, rime.Provider, "coda"),
    "sarvam": (Sarvam, sarvam.Provider, "bulbul:v3"),
    "soniox": (Soniox, soniox.Provider, "tts-rt-v1"),
}
