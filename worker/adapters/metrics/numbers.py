"""Where numbers are kept between scrapes: plain dicts and lists.

The library's own Counter and Histogram take 2 to 4 us for a count with labels, most of it locks, and add a
``_created`` series to each. These take well under one. Each is written by one thread only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric as Family,
)

from worker.adapters.metrics.catalogue import Metric

Labels = tuple[str, ...]


class Count:
    """A number that grows, per value of its labels."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.values: dict[Labels, float] = defaultdict(float, dict.fromkeys(metric.starts, 0.0))

    def add(self, count: float, *labels: str) -> None:
        """Count so many more."""
        self.values[labels] += count

    def family(self) -> Family:
        """Return what is exposed."""
        metric = self._metric
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.label_names)
        for labels, value in sorted(self.values.items()):
            family.add_metric(labels, value)
        return family


class Spread:
    """How values are spread over the buckets of a histogram, per value of its labels."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._bounds = metric.buckets
        self._counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(metric.buckets) + 1))
        self._sums: dict[Labels, float] = defaultdict(float)

    def add(self, value: float, *labels: str) -> None:
        """Add one value; a bound belongs to its own bucket."""
        self._counts[labels][bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def family(self) -> Family:
        """Return what is exposed: each bucket with all that is below it."""
        metric = self._metric
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.label_names)
        # A copy: the ledger's thread adds a first value while the loop is at this.
        for labels, counts in sorted(self._counts.copy().items()):
            buckets, below = [], 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                below += count
                buckets.append((bound, float(below)))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


def gauge_family(metric: Metric, values: dict[Labels, float]) -> Family:
    """Return a gauge as it is exposed."""
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.label_names)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
