"""What is measured: the closed list, the numbers of this process, the ports with a meter at their door.

``catalogue`` is the list, which the reference page is made from. ``numbers`` keeps counts and histograms,
``process_meters`` implements the port and puts everything together for a scrape, ``fleet`` turns the ledger's
figures into gauges, and ``doors`` counts what goes in and out of other adapters.
"""

from worker.adapters.metrics.catalogue import METRICS, PROCESS_METRICS, Metric
from worker.adapters.metrics.doors import MeteredAssistant, MeteredBell
from worker.adapters.metrics.process_meters import ProcessMeters

__all__ = ["METRICS", "PROCESS_METRICS", "MeteredAssistant", "MeteredBell", "Metric", "ProcessMeters"]
