"""The recorder and the metrics behind it."""

from __future__ import annotations

import pytest

from gateway.contract.events import Usage
from gateway.telemetry.prometheus import Metrics
from gateway.telemetry.recorder import Recorder
from gateway.telemetry.sample import Sample
from gateway.telemetry.standing import Ejection
from tests.telemetry.happened import served

OK = Sample("chat", "llm", "groq/org/llama", "ok", 0.2, 1.0, Usage(input_tokens=5, output_tokens=9))


def test_a_sink_that_breaks_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Sample] = []

    def breaks(sample: Sample) -> None:
        raise ValueError("canary")

    Recorder([breaks, seen.append]).record(OK)
    assert seen == [OK]
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_the_latest_samples_are_kept() -> None:
    recorder = Recorder(kept=2)
    samples = [Sample("chat", "llm", "a/b", "ok", float(n), 1.0) for n in range(3)]
    for sample in samples:
        recorder.record(sample)
    assert list(recorder.recent) == samples[1:]


def test_a_model_with_slashes_keeps_its_name() -> None:
    metrics = Metrics()
    metrics.sample(OK)
    assert b'gen_ai_provider_name="groq",gen_ai_request_model="org/llama"' in metrics.exposition()


def test_turns_count_for_the_first_chunk_and_not_as_attempts() -> None:
    metrics = Metrics()
    for part, ttft in (("turn", 0.3), ("turn", 0.4), ("attempt", 0.3)):
        metrics.sample(Sample("listen", "stt", "a/b", "ok", ttft, 9.0, Usage(seconds=4.5), part))  # type: ignore[arg-type]
    text = metrics.exposition().decode()
    assert 'first_chunk_seconds_count{gen_ai_operation_name="transcribe",gen_ai_provider_name="a"' in text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    first = next(value for name, value in lines.items() if "first_chunk_seconds_count" in name)
    assert float(first) == 2
    assert float(lines['trunkline_attempts_total{kind="stt",outcome="ok",route="listen",target="a/b"}']) == 1


def test_what_failed_has_no_duration() -> None:
    metrics = Metrics()
    metrics.sample(Sample("chat", "llm", "a/b", "unavailable", None, 3.0))
    lines = dict(line.rsplit(" ", 1) for line in metrics.exposition().decode().splitlines() if not line.startswith("#"))
    assert all(float(value) == 0 for name, value in lines.items() if "duration_seconds_count" in name)


def test_what_breaks_over_a_decision_or_an_ejection_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []

    def breaks(told: object) -> None:
        raise ValueError("canary")

    sinks = [breaks, seen.append]
    recorder = Recorder(decided=sinks, settled=sinks, ejected=sinks)
    decision, ejection = served(), Ejection("chat", "llm", "a/b", 5.0, "3 failures in a row")
    recorder.decided(decision)
    recorder.settled(decision)
    recorder.ejected(ejection)
    assert seen == [decision, decision, ejection]
    assert caplog.text.count("ValueError") == 3
    assert "canary" not in caplog.text
