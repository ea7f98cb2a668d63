"""What a prober is told: alive while every loop goes on, ready while questions can be answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.adapters.ledger.figures import Figures
from worker.core.gate import PROBED
from worker.core.ports import Clock, Log

#: The connections that a worker needs, by the name in the log.
LINKS = ("consume", "publish")


@dataclass(frozen=True, slots=True)
class Told:
    """One answer; the details are codes, names of loops and seconds."""

    is_so: bool
    details: Mapping[str, Any]


async def _no_figures() -> Figures | None:
    return None


@dataclass(slots=True)
class Condition:
    """Collects what is known of one process; used on the loop."""

    clock: Clock
    is_stopping: Callable[[], bool]
    #: Which connections to the broker stand; empty where the bus is not RabbitMQ.
    links: dict[str, bool] = field(default_factory=dict)
    is_ledger_up: bool = True
    #: BOOTTIME at which the ledger came back.
    _ledger_up_at: float = 0.0
    _is_running: bool = False
    _stuck: Callable[[float], Mapping[str, float]] = lambda _since: {}
    _figures: Callable[[], Awaitable[Figures | None]] = _no_figures

    def watch(
        self,
        stuck: Callable[[float], Mapping[str, float]],
        figures: Callable[[], Awaitable[Figures | None]],
    ) -> None:
        """Watch what was started now.

        ``stuck`` is told from when on silence counts, and returns the loops that are silent for too long.
        """
        self._stuck, self._figures, self._is_running = stuck, figures, True

    async def figures(self) -> Figures | None:
        """Return the fleet's figures, as far as the ledger gives them."""
        return await self._figures()

    def ledger_is(self, is_up: bool) -> None:
        """Hear that the ledger went away or came back."""
        self.is_ledger_up = is_up
        self._ledger_up_at = self.clock.boottime()

    def listening(self, log: Log) -> Log:
        """Return a log for the bus that hears of its connections as well: it says every change once."""
        self.links = dict.fromkeys(LINKS, False)

        def heard(event: str, /, **fields: Any) -> None:
            if event in {"bus.connected", "bus.disconnected"}:
                self.links[fields["link"]] = event == "bus.connected"
            log(event, **fields)

        return heard

    def live(self) -> Told:
        """Tell whether every loop goes on.

        While the ledger is away its loops wait for it: a new process would wait just the same.
        """
        stuck = self._stuck(self._ledger_up_at) if self.is_ledger_up else {}
        return Told(not stuck, {"stuck": {name: round(silent_s, 1) for name, silent_s in stuck.items()}})

    async def ready(self) -> Told:
        """Tell whether questions that come now can be answered, else what keeps them waiting."""
        if self.is_stopping():
            return Told(is_so=False, details={"missing": {"worker": "stopping"}})
        if not self._is_running:
            # The ledger is all that a start waits for.
            waits_for = {} if self.is_ledger_up else {"ledger": "away"}
            return Told(is_so=False, details={"missing": {"worker": "starting", **waits_for}})
        missing = {}
        if down := [link for link, is_up in self.links.items() if not is_up]:
            missing["broker"] = f"not connected: {', '.join(down)}"
        figures = await self._figures()
        if figures is None or not self.is_ledger_up:
            missing["ledger"] = "away"
        elif figures.gate_reason in PROBED:
            # A throttle is a pause of seconds, and no reason to look for another worker.
            missing["gate"] = f"closed: {figures.gate_reason}"
        return Told(not missing, {"missing": missing})
