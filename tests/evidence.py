"""On what the shapes stand to which the speech providers are held, where no recording holds them.

`pytestmark = [pytest.mark.wire, rests_on("cartesia")]`, and `pytest -m "not rests_on"` runs what is recorded or our own. The same
words are in the table of docs/providers.md; tests/test_evidence.py compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest

WORDS: Mapping[str, str] = MappingProxyType(
    {"sdk": "SDK", "docs": "documentation", "clients": "others' clients", "probes": "others' probes"}
)
EVIDENCE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "assemblyai": ("sdk", "docs"),
        "cartesia": ("sdk", "docs"),
        "deepgram": ("sdk", "docs"),
        "elevenlabs": ("sdk", "docs"),
        "gladia": ("sdk", "docs"),
        "inworld": ("clients", "docs", "probes"),
        "rime": ("clients", "docs"),
        "sarvam": ("sdk", "probes"),
        "soniox": ("sdk", "docs"),
        "speechmatics": ("sdk", "docs"),
    }
)
"""By provider. What is recorded of them is three results of Deepgram's, and tests/conformance/test_recordings.py has those."""


def rests_on(*providers: str) -> pytest.MarkDecorator:
    return pytest.mark.rests_on(*dict.fromkeys(each for name in providers for each in EVIDENCE[name]))
