"""Counter, Gauge: numbers by labels. prometheus_client's own take a lock for each count, and ten times as long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Count:
    """One combination of labels. `value` is for whoever counts to add to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Counter(Collector):
    """Counted on the event loop only: there is no lock."""

    family: ClassVar[type[CounterMetricFamily] | type[GaugeMetricFamily]] = CounterMetricFamily

    def __init__(self, name: str, what: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._name, self._what, self._labels = name, what, tuple(labels)
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """That number, from now on."""
        count = self._counts.get(values)
        if count is None:
            count = self._counts[values] = Count()
        return count

    def describe(self) -> Iterable[Metric]:
        return (self.family(self._name, self._what, labels=self._labels),)

    def collect(self) -> Iterator[Metric]:
        family = self.family(self._name, self._what, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count.value)
        yield family


class Gauge(Counter):
    """Goes down as well."""

    family = GaugeMetricFamily
