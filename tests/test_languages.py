"""The table of languages is what the providers say now."""

from __future__ import annotations

import pkgutil

import providers
from scripts.languages import HEARS, PAGE, SPEAKS, page

ELSEWHERE = {"fake", "local_stt", "local_tts"}
"""They declare no languages: routes.yaml does, where it matters."""


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m scripts.languages"


def test_every_provider_of_speech_has_its_column() -> None:
    for module in pkgutil.iter_modules(providers.__path__):
        if module.name.startswith("_") or module.name in ELSEWHERE:
            continue
        provider = __import__(f"providers.{module.name}", fromlist=["Provider"]).Provider
        assert hasattr(provider, "transcribe") == (module.name in HEARS), module.name
        speaks = hasattr(provider, "speak") and module.name != "openai_compatible"  # whose voices may be anybody's
        assert speaks == (module.name in SPEAKS), module.name
