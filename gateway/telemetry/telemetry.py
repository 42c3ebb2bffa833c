"""Telemetry: everything that takes note of what happens, wired to one recorder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.telemetry.decision_log import DecisionLog
from gateway.telemetry.feed import Feed
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.ledger_file import open_ledger_file
from gateway.telemetry.prices import Price
from gateway.telemetry.prometheus import Metrics
from gateway.telemetry.recorder import Recorder, Sink
from gateway.telemetry.sample import Sample
from gateway.telemetry.trend import Trend

if TYPE_CHECKING:
    from gateway.telemetry.traces import Traces

log = logging.getLogger(__name__)


class Telemetry:
    """`traces`: None where the environment asks for none. `samples`: who else is told of every sample."""

    def __init__(
        self,
        environ: Mapping[str, str],
        metrics: Metrics | None = None,
        feed: Feed | None = None,
        samples: Sequence[Sink[Sample]] = (),
        prices: Mapping[str, Price] | None = None,
        payer: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`payer`: the id of the key whose request the current task works on."""
        self.ledger = Ledger(prices or {}, payer)
        self.ledger_file = open_ledger_file(environ.get("TRUNKLINE_LEDGER"))
        self.metrics = metrics if metrics is not None else Metrics()
        self.decisions = DecisionLog()
        self.feed = feed if feed is not None else Feed()
        self.trend = Trend(time.monotonic)
        self.traces = open_traces(environ)
        self.recorder = Recorder(
            [
                self.metrics.sample,
                self.trend.sample,
                self.ledger.sample,
                *([self.ledger_file.sample] if self.ledger_file is not None else []),
                *samples,
            ],
            decided=[self.decisions.decided],
            settled=[
                self.metrics.routing.settled,
                self.feed.settled,
                *([self.traces.settled] if self.traces is not None else []),
            ],
            ejected=[self.metrics.routing.ejected],
        )

    async def aclose(self) -> None:
        self.feed.close()
        if self.traces is not None:
            await self.traces.aclose()


def open_traces(environ: Mapping[str, str]) -> Traces | None:
    """Where OpenTelemetry's environment names a collector, and the [otel] extra is installed."""
    named = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not named or disabled:
        return None
    try:
        from gateway.telemetry.traces import Traces  # costs 0.2 s and 10 MB
    except ImportError as error:
        log.warning('no traces are sent, though a collector is named: %s; pip install "trunkline[otel]"', error)
        return None
    try:
        return Traces()
    except ValueError:
        log.warning("no traces are sent: one of OTEL_*'s values is not of its form")
        return None
