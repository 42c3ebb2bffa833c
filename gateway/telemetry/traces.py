"""Traces: each settled decision as spans, sent by OTLP over HTTP. Imported only where that is configured.

    request                 SERVER    chat my-route
    └─ attempt              CLIENT    chat llama-3.3-70b
       └─ hedge             CLIENT    chat gpt-4o-mini        under the attempt that it raced

Everything else is by OpenTelemetry's own environment: OTEL_EXPORTER_OTLP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
OTEL_TRACES_SAMPLER, OTEL_BSP_*. Names are those of its conventions for generative AI; what these have no word for is
`trunkline.*`. A thread of the SDK's sends them from a bounded queue, which drops when it is full. Building the spans of a
request costs the loop about 0.1 ms.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from gateway.telemetry.decision_log import NOT_FAILED, ending_of, is_probe
from gateway.telemetry.decisions import Decision, Tried
from gateway.telemetry.prometheus import OPERATIONS

log = logging.getLogger(__name__)

LAST_WORDS = 2.0
"""Seconds for what has not been sent when the gateway stops."""
_NOT_ERRORS = NOT_FAILED | {"lost"}


class Traces:
    """`settled` is a sink of the recorder."""

    def __init__(self) -> None:
        # It logs every try, with the collector's address and reasons; we say once that it is away.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._exporter = OTLPSpanExporter()
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Told(self._exporter)))
        self._tracer = self._provider.get_tracer("trunkline")

    def settled(self, decision: Decision) -> None:
        ends = [decision.at + tried.at + (tried.duration or 0.0) for tried in decision.tried if tried.why != "shadow"]
        ending = ending_of(decision)
        operation = OPERATIONS[decision.kind]
        root = self._tracer.start_span(
            f"{operation} {decision.route}",
            Context(),
            SpanKind.INTERNAL if is_probe(decision) else SpanKind.SERVER,
            _of_request(decision, operation, ending),
            start_time=_ns(decision.at),
        )
        if ending not in _NOT_ERRORS:
            root.set_status(StatusCode.ERROR)
            root.set_attribute("error.type", ending)
        inside = trace.set_span_in_context(root, Context())
        raced = inside
        for tried in decision.tried:
            span = self._attempt(decision, tried, raced if tried.why == "hedge" else inside)
            if tried.why not in ("hedge", "shadow"):
                raced = trace.set_span_in_context(span, Context())
        root.end(_ns(max(ends, default=decision.at)))

    async def aclose(self) -> None:
        """Sends what is left, unless the collector is away: nothing waits for it longer than LAST_WORDS."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(sent.set)
            except RuntimeError:
                pass  # the loop did not wait, and is closed

        # Not in the loop's executor, whose threads are waited for at its end.
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(LAST_WORDS):
                await sent.wait()
        except TimeoutError:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends the pause between its tries

    def _attempt(self, decision: Decision, tried: Tried, parent: Context) -> trace.Span:
        start = decision.at + tried.at
        operation = OPERATIONS[decision.kind]
        model = tried.target.partition("/")[2]
        span = self._tracer.start_span(
            f"{operation} {model}", parent, SpanKind.CLIENT, _of_attempt(decision, tried), start_time=_ns(start)
        )
        if tried.outcome not in _NOT_ERRORS and tried.outcome is not None:
            span.set_status(StatusCode.ERROR, tried.error)
            span.set_attribute("error.type", tried.outcome)
        span.end(_ns(start + (tried.duration or 0.0)))
        return span


class _Told(SpanExporter):
    """One log line when the collector cannot be reached, one when it can again."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter, self._away, self._lost = exporter, False, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        self._lost = self._lost + len(spans) if away else self._lost
        if away and not self._away:
            log.warning("traces: the OTLP collector does not take them; they are dropped until it does")
        elif self._away and not away:
            log.warning("traces: the OTLP collector takes them again; %d spans were lost", self._lost)
            self._lost = 0
        self._away = away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _resource() -> Resource:
    """What the environment says of the service; its name is ours where it says none."""
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: "trunkline"}))
    return found


def _of_request(decision: Decision, operation: str, ending: str) -> Mapping[str, AttributeValue]:
    ranked = [each for each in decision.candidates if each.excluded is None]
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": decision.route,
        "trunkline.decision": decision.id,
        "trunkline.route": decision.route,
        "trunkline.kind": decision.kind,
        "trunkline.order": decision.order,
        "trunkline.outcome": ending,
        "trunkline.attempts": len(decision.tried),
        "trunkline.candidates": [each.target for each in ranked],
        "trunkline.scores": [each.score if each.score is not None else 0.0 for each in ranked],
        "trunkline.excluded": [f"{each.target}: {each.excluded}" for each in decision.candidates if each.excluded],
        **_known([("trunkline.chosen", decision.chosen)]),
    }


def _of_attempt(decision: Decision, tried: Tried) -> Mapping[str, AttributeValue]:
    provider, _, model = tried.target.partition("/")
    return {
        "gen_ai.operation.name": OPERATIONS[decision.kind],
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "trunkline.route": decision.route,
        "trunkline.target": tried.target,
        "trunkline.why": tried.why,
        **_known(
            [
                ("gen_ai.response.time_to_first_chunk", tried.ttft),
                ("trunkline.outcome", tried.outcome),
                ("trunkline.error", tried.error),
            ]
        ),
    }


def _known(pairs: Iterable[tuple[str, AttributeValue | None]]) -> dict[str, AttributeValue]:
    return {name: value for name, value in pairs if value is not None}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
