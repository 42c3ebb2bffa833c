"""Makes docs/languages.md: which provider understands and speaks which language, as the providers themselves tell the routing.

    .venv/bin/python -m scripts.languages          # writes it; tests/test_languages.py says when it is old

Every provider is asked (`cannot`) for each language, with the models below: the same answer that leaves a target out of a plan.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import Request, SpeakRequest, TranscribeRequest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "languages.md"

INDIAN = {
    "as": "Assamese",
    "bn": "Bengali",
    "brx": "Bodo",
    "doi": "Dogri",
    "gu": "Gujarati",
    "hi": "Hindi",
    "kn": "Kannada",
    "ks": "Kashmiri",
    "kok": "Konkani",
    "mai": "Maithili",
    "ml": "Malayalam",
    "mni": "Manipuri",
    "mr": "Marathi",
    "ne": "Nepali",
    "or": "Odia",
    "pa": "Punjabi",
    "sa": "Sanskrit",
    "sat": "Santali",
    "sd": "Sindhi",
    "ta": "Tamil",
    "te": "Telugu",
    "ur": "Urdu",
}
"""Those of the Eighth Schedule of India's constitution."""
OTHERS = {
    "en": "English",
    "zh": "Mandarin",
    "es": "Spanish",
    "ar": "Arabic",
    "fr": "French",
    "pt": "Portuguese",
    "ru": "Russian",
    "id": "Indonesian",
    "de": "German",
    "ja": "Japanese",
    "vi": "Vietnamese",
    "tr": "Turkish",
    "yue": "Cantonese",
    "ko": "Korean",
    "fa": "Persian",
    "sw": "Swahili",
    "ha": "Hausa",
    "it": "Italian",
    "th": "Thai",
    "jv": "Javanese",
    "tl": "Filipino",
    "am": "Amharic",
    "yo": "Yoruba",
    "my": "Burmese",
    "pl": "Polish",
    "uk": "Ukrainian",
    "uz": "Uzbek",
    "ms": "Malay",
    "nl": "Dutch",
    "ro": "Romanian",
}
"""The 30 with the most speakers, about, that are not above."""

HEARS: dict[str, tuple[str, ...]] = {
    "assemblyai": ("universal-streaming-multilingual", "whisper-rt"),
    "cartesia": ("ink-2", "ink-whisper"),
    "deepgram": ("nova-3", "nova-2", "flux-general-multi"),
    "elevenlabs": ("scribe_v2_realtime", "scribe_v2"),
    "gladia": ("solaria-1",),
    "openai": ("gpt-4o-transcribe", "whisper-1"),
    "openai_compatible": ("whisper-large-v3",),
    "sarvam": ("saarika:v2.5", "saaras:v3"),
    "soniox": ("stt-rt-v4",),
    "speechmatics": ("enhanced",),
}
SPEAKS: dict[str, tuple[str, ...]] = {
    "cartesia": ("sonic-3.5",),
    "deepgram": (
        "aura-2-thalia-en",
        "aura-2-celeste-es",
        "aura-2-viktoria-de",
        "aura-2-rhea-nl",
        "aura-2-agathe-fr",
        "aura-2-livia-it",
        "aura-2-izanami-ja",
    ),
    "elevenlabs": ("eleven_multilingual_v2", "eleven_flash_v2_5"),
    "inworld": ("inworld-tts-1.5-max",),
    "openai": ("gpt-4o-mini-tts",),
    "rime": ("arcana", "mistv2"),
    "sarvam": ("bulbul:v3",),
    "soniox": ("tts-rt-v1",),
}
"""Models of each that are asked; one that knows a language is enough."""


def page() -> str:
    there = [name for name in sorted({*HEARS, *SPEAKS}) if importlib.util.find_spec(f"providers.{name}") is not None]
    lines = [
        "# Languages",
        "",
        "What each provider of speech declares: **h**, it understands the language (`stt`); **s**, it speaks it (`tts`). Made by",
        "`scripts/languages.py`, which asks the providers what routing asks them; a test says when this page is old. How well a language",
        "is done is another matter. A target's `languages` in routes.yaml narrows what is declared here, and says it where a provider",
        "declares nothing (servers of OpenAI's shape with models other than Whisper's: the column is Whisper's). The local models know",
        "English only.",
        "",
        *_table("The 22 languages of India's constitution", INDIAN, there),
        "",
        *_table("30 of the largest others", OTHERS, there),
        "",
    ]
    return "\n".join(lines)


def _table(title: str, languages: dict[str, str], there: list[str]) -> list[str]:
    columns = {name: _known(name, languages) for name in there}
    rows = [
        f"| {language} `{tag}` | " + " | ".join(columns[name][tag] for name in there) + " |"
        for tag, language in languages.items()
    ]
    counts = " | ".join(_counted(columns[name].values()) for name in there)
    head = f"| {title} | " + " | ".join(there) + " |"
    return [head, "|---|" + "---|" * len(there), *rows, f"| *of {len(languages)}* | {counts} |"]


def _counted(cells: Iterable[str]) -> str:
    told = "".join(cells)
    return " ".join(f"{told.count(mark)}{mark}" for mark in "hs" if mark in told)


def _known(name: str, languages: Iterable[str]) -> dict[str, str]:
    """What is in its column."""
    provider = importlib.import_module(f"providers.{name}").Provider(
        Settings(name, "https://127.0.0.1/v1", Secret("none-at-all"))
    )

    def can(models: Mapping[str, tuple[str, ...]], *requests: Request) -> bool:
        asked = itertools.product(models.get(name, ()), requests)
        return any(provider.cannot(model, request) is None for model, request in asked)

    column: dict[str, str] = {}
    for tag in languages:
        hears = can(HEARS, TranscribeRequest(16_000, tag), TranscribeRequest(16_000, tag, partials=False))
        speaks = can(SPEAKS, SpeakRequest(language=tag))
        column[tag] = " ".join(mark for mark, known in (("h", hears), ("s", speaks)) if known)
    return column


if __name__ == "__main__":
    PAGE.write_text(page())
