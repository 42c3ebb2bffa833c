"""Histogram: counts of values in buckets, by labels. prometheus_client's own costs ten times as much for each value."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Series:
    """One combination of labels. `counts`: by bucket, the last for what is above all of them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.total = bounds, 0.0
        self.counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Histogram(Collector):
    """`buckets`: upper bounds, ascending. Counted on the event loop only: there is no lock."""

    def __init__(
        self, name: str, what: str, labels: Sequence[str], *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._what, self._labels = name, what, tuple(labels)
        self._buckets = tuple(map(float, buckets))
        self._bounds = (*map(str, self._buckets), "+Inf")
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """That series, from now on."""
        return self._series.setdefault(values, Series(self._buckets))

    def describe(self) -> Iterable[Metric]:
        return (HistogramMetricFamily(self._name, self._what, labels=self._labels),)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        for values, series in self._series.items():
            seen, buckets = 0, []
            for bound, count in zip(self._bounds, series.counts):
                seen += count
                buckets.append((bound, float(seen)))
            family.add_metric(values, buckets, series.total)
        yield family
