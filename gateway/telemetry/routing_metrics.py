"""What /metrics tells of routing: decisions, hedges, retries, ejections, and how the targets stand when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.contract.requests import Kind
from gateway.telemetry.counter import Count, Counter
from gateway.telemetry.decision_log import ending_of, is_probe
from gateway.telemetry.decisions import Decision, Why
from gateway.telemetry.sample import Sample
from gateway.telemetry.standing import Ejection, Standing

_TARGET = ("route", "target", "kind")


class RoutingMetrics:
    """`settled` and `ejected` are sinks of the recorder. Every counter of a target begins at 0 with its first decision."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, labels: Sequence[str] = _TARGET) -> Counter:
            return Counter(name, what, labels, registry=registry)

        self._decisions = counter("trunkline_decisions", "Requests, by how they ended", ("route", "kind", "outcome"))
        self._tries: dict[Why, Counter] = {
            "hedge": counter("trunkline_hedges", "Second targets asked while a first was slow"),
            "retry": counter("trunkline_retries", "Attempts at a target that had just failed the same request"),
            "fallback": counter("trunkline_fallbacks", "Attempts because another target had failed"),
            "continue": counter("trunkline_continuations", "Answers taken up where another target had broken off"),
        }
        self._wins = counter("trunkline_hedge_wins", "Hedges that answered first")
        self._ejections = counter("trunkline_ejections", "Times a target was left out for failing")
        self._asides = counter(
            "trunkline_background_attempts",
            "Probes and shadow copies, which no caller waits for, by how they ended",
            (*_TARGET, "purpose", "outcome"),
        )
        self._aside_first = Histogram(
            "trunkline_background_time_to_first_token_seconds",
            "TTFT of probes and shadow copies",
            (*_TARGET, "purpose"),
            registry=registry,
        )
        self._known: set[tuple[str, str]] = set()
        self._introduced: dict[str, Sequence[str]] = {}
        """By route: the targets that were introduced last, which decisions have in common while the route is the same."""
        self._endings: dict[tuple[str, str], Count] = {}

    def settled(self, decision: Decision) -> None:
        if is_probe(decision):
            return  # nobody's request
        key = decision.route, ending_of(decision)
        ending = self._endings.get(key)
        if ending is None:
            ending = self._endings[key] = self._decisions.labels(decision.route, decision.kind, key[1])
        ending.value += 1
        if decision.targets is not self._introduced.get(decision.route):
            self._introduced[decision.route] = decision.targets
            for target in decision.targets:
                self._introduce(decision.route, target, decision.kind)
        for tried in decision.tried:
            if (counter := self._tries.get(tried.why)) is not None:
                counter.labels(decision.route, tried.target, decision.kind).value += 1
                if tried.why == "hedge" and tried.target == decision.chosen and tried.outcome != "lost":
                    self._wins.labels(decision.route, tried.target, decision.kind).value += 1

    def aside(self, sample: Sample) -> None:
        """A sample of what no caller waited for."""
        who = (sample.route, sample.target, sample.kind, sample.purpose)
        turns = sample.kind in ("stt", "s2s")
        if sample.ttft is not None and (sample.part == "turn") == turns:
            self._aside_first.labels(*who).observe(sample.ttft)
        if sample.part == "attempt":
            self._asides.labels(*who, sample.outcome).value += 1

    def ejected(self, ejection: Ejection) -> None:
        self._introduce(ejection.route, ejection.target, ejection.kind)
        self._ejections.labels(ejection.route, ejection.target, ejection.kind).value += 1

    def _introduce(self, route: str, target: str, kind: Kind) -> None:
        """A counter that appears with its first event shows no increase there: rate() needs the 0 before."""
        if (route, target) not in self._known:
            self._known.add((route, target))
            for counter in (*self._tries.values(), self._wins, self._ejections):
                counter.labels(route, target, kind)


class StandingGauges(Collector):
    """Asked whenever metrics are."""

    def __init__(self, standing: Callable[[], Iterable[Standing]]) -> None:
        self._standing = standing

    def describe(self) -> Iterable[Metric]:
        return ()  # or the registry would ask `standing` before there is anything to ask

    def collect(self) -> Iterator[Metric]:
        def gauge(name: str, what: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"trunkline_{name}", what, labels=_TARGET)

        ejected = gauge("ejected", "1 while a target is left out for failing")
        resting = gauge("resting", "1 while a target rests because it asked for less traffic")
        asleep = gauge("asleep", "1 where a target cannot serve here: no key, package or weights")
        in_flight = gauge("in_flight", "Attempts under way")
        errors = gauge("error_rate", "Recent share of failed attempts")
        share = gauge("traffic_share", "Share of the route's recent requests")
        shadow = gauge("shadow", "1 where a target gets copies of requests and serves nobody")
        for each in self._standing():
            who = (each.route, each.target, each.kind)
            ejected.add_metric(who, each.ejected_for is not None)
            resting.add_metric(who, each.resting_for is not None)
            asleep.add_metric(who, each.asleep is not None)
            in_flight.add_metric(who, each.in_flight)
            errors.add_metric(who, each.error_rate)
            share.add_metric(who, each.share)
            shadow.add_metric(who, each.shadow)
        yield from (ejected, resting, asleep, in_flight, errors, share, shadow)
