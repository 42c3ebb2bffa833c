"""Chats with the real program by OpenAI's own client: the embedded model, a target that is killed, and nobody left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.gateway_process import gateway_process
from tests.upstreams import Upstream

pytestmark = [pytest.mark.models, pytest.mark.wire]

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me one thing about the sea."}]

ROUTES = """
providers:
  first: {{module: openai_compatible, base_url: "{first}", key: k}}
  dead: {{module: openai_compatible, base_url: "http://127.0.0.1:9/v1", key: k}}
routes:
  chat: {{kind: llm, policy: as_written, targets: [first/one, local_llm/smollm2]}}
  down: {{kind: llm, policy: as_written, targets: [first/one, dead/two]}}
policies:
  as_written: {{order: priority}}
"""


async def said(client: openai.AsyncOpenAI, route: str) -> tuple[str, str | None]:
    """The text of a streamed answer, and the model that it names."""
    stream = await client.chat.completions.create(model=route, messages=HELLO, stream=True, max_tokens=40)
    text, model = "", None
    async for chunk in stream:
        model = chunk.model
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return text, model


async def test_with_the_first_target_killed_the_embedded_model_answers_and_with_all_down_each_is_named(
    tmp_path: Path,
) -> None:
    upstream = Upstream("ok")
    async with upstream:
        routes = tmp_path / "routes.yaml"
        routes.write_text(ROUTES.format(first=upstream.url))
        async with (
            gateway_process(routes) as gateway,
            openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
        ):
            text, model = await said(client, "chat")
            assert (text[:2], model) == ("w1", "upstream-model-1")

            await upstream.__aexit__(None, None, None)
            text, model = await said(client, "chat")
            assert len(text.split()) > 3
            assert model == "local_llm/smollm2"

            with pytest.raises(openai.InternalServerError) as failure:
                await said(client, "down")
            assert failure.value.status_code == 503
            assert "first/one" in failure.value.message
            assert "dead/two" in failure.value.message


async def test_leaving_a_chat_stops_the_embedded_model_at_once() -> None:
    async with (
        gateway_process() as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
    ):
        long = await client.chat.completions.create(
            model="chat", messages=HELLO, stream=True, max_tokens=250, temperature=1.0
        )
        await anext(aiter(long))
        await long.close()
        # The model has one slot: an answer that still ran would hold up the next one by seconds.
        async with asyncio.timeout(1.5):
            await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=1)
