"""What use costs: by the operator's own prices, and by LiteLLM's table, read without importing it."""

import json

import pytest

from gateway.contract.events import Usage
from gateway.telemetry.prices import FREE, Price, Table

TABLE = json.dumps(
    {
        "sample_spec": {"litellm_provider": "one of many", "gpt-4o": "not a row"},
        "gpt-4o": {
            "litellm_provider": "openai",
            "mode": "chat",
            "input_cost_per_token": 2e-6,
            "output_cost_per_token": 8e-6,
            "cache_read_input_token_cost": 1e-6,
            "input_cost_per_token_above_200k_tokens": 4e-6,
        },
        "groq/llama": {"litellm_provider": "groq", "input_cost_per_token": 1e-7, "output_cost_per_token": 2e-7},
        "claude": {"litellm_provider": "bedrock", "input_cost_per_token": 1e-6},
        "deepgram/nova": {"litellm_provider": "deepgram", "mode": "audio_transcription", "input_cost_per_second": 1e-4},
        "elevenlabs/v3": {"litellm_provider": "elevenlabs", "mode": "audio_speech", "input_cost_per_character": 3e-5},
        "pictures": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
    },
    indent=4,
)


def found(provider: str, module: str, model: str) -> Price:
    price = Table(TABLE).find(provider, module, model)
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("price", "usage", "usd"),
    [
        (Price(2e-6, 8e-6), Usage(1000, 100), 0.0028),
        (Price(2e-6, 8e-6, cached=1e-6), Usage(1000, 0, cached_tokens=600), 0.0014),
        (Price(2e-6, 8e-6), Usage(1000, 0, cached_tokens=600), 0.002),
        (Price(2e-6, 8e-6, cache_write=4e-6), Usage(1000, 0, cache_write_tokens=500), 0.003),
        (Price(2e-6, 8e-6, audio_input=1e-5, audio_output=2e-5), Usage(100, 50, audio_input_tokens=100, audio_output_tokens=50), 0.002),
        (Price(2e-6, 8e-6, image_input=1e-6), Usage(100, 0, image_input_tokens=50), 0.00015),
        (Price(2e-6, 8e-6, reasoning=1e-5), Usage(0, 100, reasoning_tokens=50), 0.0009),
        (Price(second=1e-4), Usage(seconds=90.0), 0.009),
        (Price(character=3e-5), Usage(characters=100, seconds=5.0), 0.003),
        (Price(1e-6, 1e-6, beyond=((1000, Price(2e-6, 2e-6)),)), Usage(1001, 0), 0.002002),
        (FREE, Usage(5, 5), 0.0),
        (FREE, Usage(), 0.0),
    ],
)  # fmt: skip
def test_every_sort_of_use_has_its_own_price_or_that_of_its_side(price: Price, usage: Usage, usd: float) -> None:
    assert price.cost(usage) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("price", "usage"),
    [
        (Price(2e-6), Usage(10, 1)),
        (Price(output=8e-6), Usage(10, 1)),
        (Price(character=1e-5), Usage(seconds=3.0)),
        (Price(2e-6, 8e-6), Usage()),
    ],
)
def test_what_has_no_price_is_unknown_and_not_nothing(price: Price, usage: Usage) -> None:
    assert price.cost(usage) is None


def test_a_target_is_found_under_its_own_name_its_modules_or_its_providers() -> None:
    assert found("groq", "openai_compatible", "llama").input == 1e-7
    assert found("openai", "openai", "gpt-4o").cached == 1e-6
    assert found("fast", "groq", "llama").output == 2e-7
    assert found("anything", "litellm", "claude").input == 1e-6
    assert found("deepgram", "deepgram", "nova").second == 1e-4
    assert found("elevenlabs", "elevenlabs", "v3").character == 3e-5
    assert found("openai", "openai", "gpt-4o").cost(Usage(300_000, 0)) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("provider", "module", "model"),
    [
        ("azure", "openai_compatible", "gpt-4o"),  # another provider's price for a model of the same name
        ("anthropic", "anthropic", "claude"),
        ("openai", "openai", "nobody"),
        ("openai", "openai", "pictures"),
        ("openai", "openai", 'gpt-4o": {"'),
    ],
)
def test_nobodys_price_is_guessed(provider: str, module: str, model: str) -> None:
    assert Table(TABLE).find(provider, module, model) is None
    assert Table().find(provider, module, model) is None
