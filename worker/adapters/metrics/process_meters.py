"""The meters of one process and what `/metrics` shows of them, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from worker.adapters.ledger.figures import Figures
from worker.adapters.metrics import catalogue as known
from worker.adapters.metrics.catalogue import Metric
from worker.adapters.metrics.fleet import fleet_values
from worker.adapters.metrics.numbers import Count, Labels, Spread, gauge_family

#: What HTTP knows as a status (RFC 9110, 15); 520 and its like of proxies included.
HTTP_STATUSES = range(100, 600)


class ProcessMeters(Collector):
    """Implements worker.core.meters.Meters, and collects everything else that is measured here."""

    def __init__(self, *, version: str, ledger: str) -> None:
        self._counts = {metric: Count(metric) for metric in known.METRICS if metric.kind == "counter"}
        self._spreads = {metric: Spread(metric) for metric in known.METRICS if metric.kind == "histogram"}
        self._gauges: dict[Metric, Callable[[], dict[Labels, float]]] = {
            known.BUILD_INFO: lambda: {(version, ledger): 1.0}
        }
        self._figures: Figures | None = None
        # Looked up once: these are on the way of every question.
        self._events = self._counts[known.EVENTS].add
        self._turns = self._counts[known.TURNS].add
        self._answers = self._counts[known.ANSWERS].add
        self._replies = self._counts[known.REPLIES].add
        self._queue_time = self._spreads[known.QUEUE_TIME].add
        self._answer_age = self._spreads[known.ANSWER_AGE].add
        self._commit_time = self._spreads[known.COMMIT_TIME].add
        self._commit_size = self._spreads[known.COMMIT_SIZE].add
        self._api_calls = self._spreads[known.API_CALLS].add
        self._api_requests = self._spreads[known.API_REQUESTS].add
        self._doorbells = self._counts[known.DOORBELLS]
        self._rings_lost: Callable[[], int] = lambda: 0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def events_taken(self, result: str, count: int, *, error_code: str = "") -> None:
        """See the port."""
        self._events(count, result, error_code)

    def turn_ended(self, verdict: str, *, error_code: str, outcome: str) -> None:
        """See the port."""
        self._turns(1, verdict, error_code)
        if outcome:
            self._answers(1, outcome)

    def turn_lost(self, reason: str) -> None:
        """See the port."""
        self._counts[known.TURNS_LOST].add(1, reason)

    def question_ended(self, *, waited_s: float, answered_after_s: float | None) -> None:
        """See the port."""
        self._queue_time(max(waited_s, 0.0))
        if answered_after_s is not None:
            # The event's time is the CRM's clock, which may be ahead of ours.
            self._answer_age(max(answered_after_s, 0.0))

    def replies_tried(self, result: str, count: int) -> None:
        """See the port."""
        self._replies(count, result)

    def copy_ended(self, end: str, *, error_code: str) -> None:
        """See the port."""
        self._counts[known.COPIES].add(1, end, error_code)

    def api_called(self, call: str, result: str, duration_s: float) -> None:
        """Note a call to the API: ``ok``, an error code, or ``cancelled``."""
        self._api_calls(duration_s, call, result)

    def api_answered(self, call: str, status: int | None, duration_s: float) -> None:
        """Note an HTTP request to the API; the status is None when no status line came."""
        self._api_requests(duration_s, call, _status_label(status))

    def committed(self, operations: int, duration_s: float) -> None:
        """Note a transaction of the group commit; called in the ledger's thread, by nobody else."""
        self._commit_time(duration_s)
        self._commit_size(operations)

    def doorbell(self, fate: str) -> None:
        """Note a doorbell that was ``rung`` or ``heard``."""
        self._doorbells.add(1, fate)

    def watch(self, metric: Metric, read: Callable[[], dict[Labels, float]]) -> None:
        """Read a gauge at every scrape."""
        self._gauges[metric] = read

    def watch_lost_doorbells(self, read: Callable[[], int]) -> None:
        """Read at every scrape how many doorbells did not get out; the thread that rings counts them."""
        self._rings_lost = read

    def exposition(self, accept: str, figures: Figures | None) -> tuple[bytes, str]:
        """Return the text and its content type; the fleet's figures are left out where they are None."""
        self._figures = figures
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Family]:
        """Yield every metric of the list, with and without values."""
        self._doorbells.values["lost",] = self._rings_lost()
        fleet = {} if self._figures is None else fleet_values(self._figures)
        for metric in known.METRICS:
            if metric.kind == "counter":
                yield self._counts[metric].family()
            elif metric.kind == "histogram":
                yield self._spreads[metric].family()
            elif metric.is_fleet_wide:
                yield gauge_family(metric, fleet.get(metric, {}))
            else:
                read = self._gauges.get(metric)
                yield gauge_family(metric, read() if read is not None else {})


def _status_label(status: int | None) -> str:
    """Return a status as a label with a bounded number of values, whatever a broken server sends."""
    if status is None:
        return "none"
    return str(status) if status in HTTP_STATUSES else "other"
