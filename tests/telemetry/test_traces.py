"""Traces over OTLP, as a collector gets them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.telemetry.decisions import Tried
from gateway.telemetry.telemetry import Telemetry
from tests.needs import ROOT
from tests.telemetry.collector import attributes, collecting
from tests.telemetry.happened import FAST, SLOW, failed, fell_back, hedged, made, probed, served, shadowed

pytestmark = pytest.mark.wire
AT = 1_700_000_000.0


@asynccontextmanager
async def telling(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], soon: bool = True
) -> AsyncIterator[Telemetry]:
    """Sends ten times a second. Leaving sends what is left."""
    for name, value in {"OTEL_BSP_SCHEDULE_DELAY": "100" if soon else "60000", **environ}.items():
        monkeypatch.setenv(name, value)
    kept = Telemetry(environ)
    try:
        yield kept
    finally:
        await kept.aclose()


def stretch(span: Span) -> tuple[float, float]:
    """Seconds after AT."""
    return span.start_time_unix_nano / 1e9 - AT, span.end_time_unix_nano / 1e9 - AT


async def test_a_request_is_a_span_and_each_attempt_one_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        async with telling(monkeypatch, collector.environ) as kept:
            kept.recorder.settled(fell_back(AT))
            await collector.until(4)
    request = collector.named("chat chat")
    assert request.kind == Span.SPAN_KIND_SERVER
    assert not request.parent_span_id
    assert collector.children(request) == ["chat mini", "chat mini", "chat llama"]
    assert stretch(request) == pytest.approx((0.0, 1.3), abs=1e-3)
    told = attributes(request)
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["trunkline.route"], told["trunkline.chosen"], told["trunkline.outcome"]) == ("chat", FAST, "ok")
    assert told["trunkline.candidates"] == [FAST, SLOW]
    assert told["trunkline.scores"] == [0.21, 0.44]
    assert told["trunkline.excluded"] == ["local_llm/smollm2: ejected: 3 failures in a row"]
    answered = collector.named("chat llama")
    assert answered.kind == Span.SPAN_KIND_CLIENT
    assert stretch(answered) == pytest.approx((0.4, 1.3), abs=1e-3)
    assert attributes(answered) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "groq",
        "gen_ai.request.model": "llama",
        "gen_ai.response.time_to_first_chunk": 0.2,
        "trunkline.route": "chat",
        "trunkline.target": FAST,
        "trunkline.why": "fallback",
        "trunkline.outcome": "ok",
    }
    assert collector.resource["service.name"] == "trunkline"


async def test_a_hedge_is_below_the_attempt_that_it_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        async with telling(monkeypatch, collector.environ) as kept:
            kept.recorder.settled(hedged(AT))
            await collector.until(3)
    raced = collector.named("chat mini")
    assert collector.children(collector.named("chat chat")) == ["chat mini"]
    assert collector.children(raced) == ["chat llama"]
    assert attributes(raced)["trunkline.outcome"] == "lost"
    assert raced.status.code != Status.STATUS_CODE_ERROR, "to be slower than another is no error"


async def test_a_shadow_copy_is_below_its_request_and_neither_stretches_nor_fails_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as collector:
        async with telling(monkeypatch, collector.environ) as kept:
            kept.recorder.settled(shadowed(AT))
            await collector.until(4)
    request = collector.named("chat chat")
    assert collector.children(request) == ["chat mini", "chat smollm2"]
    assert collector.children(collector.named("chat mini")) == ["chat llama"]
    assert stretch(request) == pytest.approx((0.0, 0.9), abs=1e-3)
    assert request.status.code != Status.STATUS_CODE_ERROR


async def test_a_probe_is_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        async with telling(monkeypatch, collector.environ) as kept:
            kept.recorder.settled(probed(AT))
            await collector.until(2)
    probe = collector.named("chat chat")
    assert probe.kind == Span.SPAN_KIND_INTERNAL
    assert attributes(probe)["trunkline.order"] == "probe"


async def test_what_failed_is_an_error_with_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        async with telling(monkeypatch, collector.environ) as kept:
            kept.recorder.settled(failed(AT))
            kept.recorder.settled(made(Tried(FAST, "first", 0.0, "cancelled", None, 0.3), at=AT, route="left"))
            await collector.until(5)
    request, limited = collector.named("chat chat"), collector.named("chat mini")
    for span, kind in ((request, "rate_limited"), (limited, "rate_limited")):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert attributes(span)["error.type"] == kind
    assert limited.status.message == "RateLimited 429"
    left = collector.named("chat left")
    assert left.status.code != Status.STATUS_CODE_ERROR, "the caller left"


async def test_every_request_is_a_trace_of_its_own_and_its_service_may_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as collector:
        environ = {**collector.environ, "OTEL_SERVICE_NAME": "gateway-7"}
        async with telling(monkeypatch, environ) as kept:
            for _ in range(3):
                kept.recorder.settled(served(AT))
            await collector.until(6)
    assert len({span.trace_id for span in collector.spans}) == 3
    assert collector.resource["service.name"] == "gateway-7"


async def test_what_was_not_sent_yet_is_sent_when_the_gateway_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        async with telling(monkeypatch, collector.environ, soon=False) as kept:
            kept.recorder.settled(served(AT))
            assert collector.spans == []
        assert len(collector.spans) == 2


async def test_a_collector_that_is_away_is_one_line_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with collecting() as collector:
        collector.refuses = 400
        loop = asyncio.get_running_loop()
        async with telling(monkeypatch, collector.environ) as kept:
            for number in range(1, 4):
                kept.recorder.settled(served(AT))
                async with asyncio.timeout(10):
                    while collector.asked < number:
                        collector.news.clear()
                        await collector.news.wait()
            began = loop.time()
        assert loop.time() - began < 4
    assert collector.spans == []
    assert [record.message for record in caplog.records if record.name.startswith(("gateway", "opentelemetry"))] == [
        "traces: the OTLP collector does not take them; they are dropped until it does"
    ]


async def test_a_collector_that_comes_back_is_told_from_then_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with collecting() as collector:
        collector.refuses = 400
        async with telling(monkeypatch, collector.environ) as kept:
            kept.recorder.settled(failed(AT))
            await collector.news.wait()
            collector.refuses = None
            kept.recorder.settled(served(AT))
            await collector.until(2)
    assert "takes them again; 3 spans were lost" in caplog.text


async def test_nobody_listening_at_the_collectors_address_delays_neither_requests_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with collecting() as collector:
        environ = collector.environ
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with telling(monkeypatch, environ) as kept:
        for _ in range(200):
            kept.recorder.settled(served(AT))
        assert loop.time() - began < 2
    assert loop.time() - began < 6
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_where_no_collector_is_asked_for_opentelemetrys_sdk_is_not_even_imported(environ: dict[str, str]) -> None:
    code = (
        f"import sys; from gateway.telemetry.telemetry import Telemetry; kept = Telemetry({environ!r});"
        "assert kept.traces is None; assert 'opentelemetry.sdk' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_collector_without_the_extra_is_a_warning_that_names_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "gateway.telemetry.traces", raising=False)
    kept = Telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert kept.traces is None
    assert "trunkline[otel]" in caplog.text
