"""Metrics: what /metrics tells, in a registry of its own.

Names are OpenTelemetry's for generative AI where it has one (the gateway is a client of its providers), else `trunkline_`.
Labels are names out of the configuration and of this code: nothing a caller sends becomes one, so their number is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from gateway.contract.requests import Kind
from gateway.telemetry.counter import Count, Counter, Gauge
from gateway.telemetry.histogram import Histogram, Series
from gateway.telemetry.routing_metrics import RoutingMetrics, StandingGauges
from gateway.telemetry.sample import Sample
from gateway.telemetry.standing import Standing

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

OPERATIONS: dict[Kind, str] = {
    "llm": "chat",
    "stt": "transcribe",
    "tts": "speak",
    "s2s": "converse",
    "embed": "embeddings",
}
"""`chat` and `embeddings` are OpenTelemetry's words; it has none for the others."""

_FIRST = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""OpenTelemetry's for `gen_ai.server.time_to_first_token`. Ours are finer where people notice."""
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
_ACCOUNT = ("route", "target", "kind")
_WHO = ("trunkline_route", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


@dataclass(frozen=True, slots=True)
class _Series:
    """The series of one target on one route, looked up once: finding a label costs ten times what counting does."""

    first: Series
    first_token: Series
    duration: Series
    read: Series
    written: Series
    characters: Count
    seconds: Count
    cost: Count
    unpriced: Count


class Metrics:
    """A sink of the recorder (`sample`, and `routing`'s), and told of requests by the API (`began`, `ended`)."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "trunkline_requests", "HTTP requests answered", ["endpoint", "status"], registry=registry
        )
        self._open = Gauge("trunkline_open_requests", "HTTP requests under way", ["endpoint"], registry=registry)
        self._calls = prometheus_client.Gauge("trunkline_calls", "Calls under way", registry=registry)
        self._attempts = Counter(
            "trunkline_attempts",
            "Attempts at targets, by how they ended",
            ["route", "target", "kind", "outcome"],
            registry=registry,
        )
        self._first = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From when a provider had all it needs to its first useful event",
            _WHO,
            buckets=_FIRST,
            registry=registry,
        )
        self._first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "The same, as the gateway serves it: by route, target and kind",
            ["route", "target", "kind"],
            buckets=_FIRST_TOKEN,
            registry=registry,
        )
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Of attempts that ended well",
            _WHO,
            buckets=_DURATION,
            registry=registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of an attempt, as the provider counts them",
            [*_WHO, "gen_ai_token_type"],
            buckets=_TOKENS,
            registry=registry,
        )
        self._characters = Counter("trunkline_characters", "Characters spoken", _WHO, registry=registry)
        self._seconds = Counter(
            "trunkline_audio_seconds", "Seconds of audio, as providers count", _WHO, registry=registry
        )
        self._cost = Counter(
            "trunkline_cost_dollars", "US dollars spent on attempts whose price is known", _ACCOUNT, registry=registry
        )
        self._unpriced = Counter(
            "trunkline_unpriced_attempts", "Attempts of which nobody knows the cost", _ACCOUNT, registry=registry
        )
        self._paid = Counter("trunkline_key_cost_dollars", "The same, by key", ["key"], registry=registry)
        self.routing = RoutingMetrics(registry)
        self._series: dict[tuple[str, str], _Series] = {}
        self._outcomes: dict[tuple[str, str, str], Count] = {}
        self._endpoints: dict[str, Count] = {}
        self._statuses: dict[tuple[str, int], Count] = {}

    def sample(self, sample: Sample) -> None:
        series = self._of(sample)
        if sample.purpose == "serve":
            self._served(series, sample)
        else:
            self.routing.aside(sample)
        if sample.part == "turn":
            return
        self._charge(sample, series)
        usage = sample.usage  # is paid for, whoever asked
        if usage.input_tokens:
            series.read.observe(usage.input_tokens)
        if usage.output_tokens:
            series.written.observe(usage.output_tokens)
        if usage.characters:
            series.characters.value += usage.characters
        if usage.seconds:
            series.seconds.value += usage.seconds

    def _served(self, series: _Series, sample: Sample) -> None:
        turns = sample.kind in ("stt", "s2s")
        # A stream of turns reports each of them, and its first one again with the attempt.
        if sample.ttft is not None and (sample.part == "turn" or not turns):
            series.first.observe(sample.ttft)
            series.first_token.observe(sample.ttft)
        if sample.part == "attempt":
            self._outcome(sample).value += 1
            if sample.outcome == "ok":
                series.duration.observe(sample.duration)

    def _charge(self, sample: Sample, series: _Series) -> None:
        if sample.cost is None:
            series.unpriced.value += 1
        elif sample.cost:
            series.cost.value += sample.cost
            if sample.payer is not None:
                self._paid.labels(sample.payer).value += sample.cost

    def began(self, endpoint: str) -> None:
        gauge = self._endpoints.get(endpoint)
        if gauge is None:
            gauge = self._endpoints[endpoint] = self._open.labels(endpoint)
        gauge.value += 1

    def ended(self, endpoint: str, status: int) -> None:
        self._endpoints[endpoint].value -= 1
        counter = self._statuses.get((endpoint, status))
        if counter is None:
            counter = self._statuses[endpoint, status] = self._requests.labels(endpoint, str(status))
        counter.value += 1

    def count_calls(self, count: Callable[[], int]) -> None:
        """`count` is asked whenever metrics are."""
        self._calls.set_function(lambda: float(count()))

    def ask_standing(self, standing: Callable[[], Iterable[Standing]]) -> None:
        """`standing` is asked whenever metrics are."""
        self._registry.register(StandingGauges(standing))

    def ask_whether_local(self, local: Callable[[], bool]) -> None:
        """`local`: whether the state that replicas share cannot be reached. Asked whenever metrics are; where nothing is
        shared there is no gauge, so that an alert on it is never false."""
        gauge = prometheus_client.Gauge(
            "trunkline_state_local",
            "1 while shared state is out of reach and this process routes alone",
            registry=self._registry,
        )
        gauge.set_function(lambda: float(local()))

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def _of(self, sample: Sample) -> _Series:
        key = (sample.route, sample.target)
        series = self._series.get(key)
        if series is None:
            provider, _, model = sample.target.partition("/")
            who = (sample.route, OPERATIONS[sample.kind], provider, model)
            series = self._series[key] = _Series(
                self._first.labels(*who),
                self._first_token.labels(sample.route, sample.target, sample.kind),
                self._duration.labels(*who),
                self._tokens.labels(*who, "input"),
                self._tokens.labels(*who, "output"),
                self._characters.labels(*who),
                self._seconds.labels(*who),
                self._cost.labels(sample.route, sample.target, sample.kind),
                self._unpriced.labels(sample.route, sample.target, sample.kind),
            )
        return series

    def _outcome(self, sample: Sample) -> Count:
        key = (sample.route, sample.target, sample.outcome)
        counter = self._outcomes.get(key)
        if counter is None:
            counter = self._outcomes[key] = self._attempts.labels(
                sample.route, sample.target, sample.kind, sample.outcome
            )
        return counter
