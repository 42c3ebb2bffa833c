"""A whole gateway on faulty upstreams, and its caller: what the rows of the catalogue are played on.

async def test_...(bench: Bench) -> None:
    async with bench.stage(["503"], ["well"]) as stage:     # what primary and fallback do, request by request
        told = await stage.ask()                            # by OpenAI's official client, streaming or not as the bench is
        told.text, told.finish, told.model, told.usage, told.error
        await stage.primary.tries()                         # what came, as the upstream saw it
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import openai
from openai.types import CompletionUsage
from openai.types.responses import Response
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.failover.families import ASKED_FOR_RESPONSES, FAMILIES
from tests.failover.faults import ANSWER, Fault
from tests.failover.process import Faulty, Lane
from tests.serving import client, plain_http, serving

PRIMARY, FALLBACK = "primary/model-a", "fallback/model-b"
QUESTION = "Count to sixty."
PATIENCE = 60.0
"""Seconds after which the caller would give up; no row comes to it."""


@dataclass(slots=True)
class Told:
    """What the caller was told. `error`: what the client raised; `seconds`: until the end, or the error."""

    text: str = ""
    finish: str | None = None
    model: str | None = None
    usage: CompletionUsage | None = None
    error: openai.APIError | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        return self.error is None and self.text == ANSWER and self.finish == "stop"

    @property
    def status(self) -> int | None:
        return self.error.status_code if isinstance(self.error, openai.APIStatusError) else None

    @property
    def why(self) -> str:
        """All that the error says."""
        return f"{self.error} {self.error.body}" if self.error is not None else ""


class Stage:
    def __init__(
        self, bench: Bench, lanes: Mapping[str, Lane], official: openai.AsyncOpenAI, http: httpx.AsyncClient
    ) -> None:
        self.lanes, self._bench, self._official, self._http = lanes, bench, official, http

    @property
    def primary(self) -> Lane:
        return self.lanes["primary"]

    @property
    def fallback(self) -> Lane:
        return self.lanes["fallback"]

    async def ask(self, within: float | None = None) -> Told:
        """`within`: seconds it may take (default: the row's). Of errors only the client's own pass for an answer."""
        clock = asyncio.get_running_loop().time
        told, began = Told(), clock()
        try:
            await self._asked(told)
        except openai.APIConnectionError as error:
            raise AssertionError(f"no answer, but {error!r} from {error.__cause__!r}") from error
        except openai.APIError as error:
            told.error = error
            if isinstance(error, openai.APIStatusError):
                told.headers = error.response.headers
        told.seconds = clock() - began
        self._bench.calls.append(told)
        limit = self._bench.within if within is None else within
        assert told.seconds < limit, f"it took {told.seconds:.1f} s, and may take {limit:g}: {told}"
        return told

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of those samples in /metrics."""
        text = (await self._http.get("/metrics")).text
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    async def _asked(self, told: Told) -> None:
        if self._bench.family in ASKED_FOR_RESPONSES:
            await (self._response_streamed(told) if self._bench.stream else self._response(told))
        else:
            await (self._streamed(told) if self._bench.stream else self._whole(told))

    async def _streamed(self, told: Told) -> None:
        raw = await self._official.chat.completions.with_raw_response.create(
            model="chat",
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            stream_options={"include_usage": True},
        )
        told.headers = raw.headers
        async with raw.parse() as chunks:
            async for chunk in chunks:
                told.model = chunk.model or told.model
                told.usage = chunk.usage or told.usage
                for choice in chunk.choices:
                    told.text += choice.delta.content or ""
                    told.finish = choice.finish_reason or told.finish

    async def _whole(self, told: Told) -> None:
        raw = await self._official.chat.completions.with_raw_response.create(
            model="chat", messages=[{"role": "user", "content": QUESTION}]
        )
        answer = raw.parse()
        told.headers, told.model, told.usage = raw.headers, answer.model, answer.usage
        told.text, told.finish = answer.choices[0].message.content or "", answer.choices[0].finish_reason

    async def _response_streamed(self, told: Told) -> None:
        raw = await self._official.responses.with_raw_response.create(model="chat", input=QUESTION, stream=True)
        told.headers = raw.headers
        async with raw.parse() as events:
            async for event in events:
                if event.type == "response.output_text.delta":
                    told.text += event.delta
                elif event.type in ("response.completed", "response.incomplete", "response.failed"):
                    _ended(told, event.response)

    async def _response(self, told: Told) -> None:
        raw = await self._official.responses.with_raw_response.create(model="chat", input=QUESTION)
        answer = raw.parse()
        told.headers, told.text = raw.headers, answer.output_text
        _ended(told, answer)


def _ended(told: Told, response: Response) -> None:
    told.model, used = response.model, response.usage
    told.finish = {"completed": "stop", "incomplete": "length"}.get(response.status or "")
    if used is not None:
        told.usage = CompletionUsage(
            prompt_tokens=used.input_tokens, completion_tokens=used.output_tokens, total_tokens=used.total_tokens
        )


@dataclass
class Bench:
    """What a row is given. `within`: seconds that one call may take; `calls`, `tries`: all that were made, and of them at each
    upstream (primary, fallback), a stage's in one entry."""

    faulty: Faulty
    family: str
    stream: bool
    within: float
    calls: list[Told] = field(default_factory=list)
    tries: list[tuple[int, ...]] = field(default_factory=list)

    @asynccontextmanager
    async def stage(
        self, primary: Sequence[Fault], fallback: Sequence[Fault] = (), targets: Sequence[str] = ()
    ) -> AsyncGenerator[Stage]:
        """Without `fallback`, the primary is alone. `targets`: as in routes.yaml, where they say more than a name."""
        lanes = {"primary": await self.faulty.lane(self.family, *primary)}
        if fallback:
            lanes["fallback"] = await self.faulty.lane(self.family, *fallback)
        named = targets or [PRIMARY, FALLBACK][: len(lanes)]
        config = parse(routes(FAMILIES[self.family].module, {name: lane.url for name, lane in lanes.items()}, named))
        try:
            # On a hasty clock the server would close connections that the client, on the machine's, still takes for open.
            async with serving(create_app(config, load(config, {})), timeout_keep_alive=600) as served:
                async with client(served, timeout=PATIENCE) as official, plain_http(base_url=served.url) as http:
                    yield Stage(self, lanes, official, http)
        finally:
            self.tries.append(tuple([len(await lane.tries()) for lane in lanes.values()]))


def routes(module: str, urls: Mapping[str, str], targets: Sequence[str]) -> str:
    """`order: priority`, and every other key at its default."""
    rows = [f'  {name}: {{module: {module}, base_url: "{url}", key: test}}' for name, url in urls.items()]
    return "\n".join(
        [
            "providers:",
            *rows,
            "policies:",
            "  plain: {order: priority}",
            "routes:",
            f"  chat: {{kind: llm, policy: plain, targets: [{', '.join(targets)}]}}",
        ]
    )
