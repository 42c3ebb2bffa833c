"""A gateway of text alone is small: what only speech, calls or other protocols need is not imported before a route needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.gateway_process import gateway_process
from tests.needs import ROOT

TEXT = """\
providers:
  near: {module: openai_compatible, base_url: "http://127.0.0.1:9/v1"}
routes:
  chat: {kind: llm, targets: [near/small, near/large]}
"""
HEAVY = (
    "aiortc",
    "av",
    "numpy",
    "litellm",
    "onnxruntime",
    "piper",
    "xllamacpp",
    "websockets",
    "redis",
    "httpx",
    "aioice",
)
MEGABYTES = 85
BUILDS = """\
import sys
from pathlib import Path
from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
config = parse(Path(sys.argv[1]).read_text(), sys.argv[1])
create_app(config, load(config, {}))
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "routes.yaml"
    file.write_text(TEXT)
    return file


def test_it_imports_nothing_that_text_does_without(text: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILDS, str(text), *HEAVY], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.wire
async def test_it_idles_in_little_memory(text: Path) -> None:
    async with gateway_process(text) as gateway:
        assert psutil.Process(gateway.process.pid).memory_info().rss / 1e6 <= MEGABYTES
