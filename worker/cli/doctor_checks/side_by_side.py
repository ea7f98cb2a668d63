"""Runs checks beside one another and waits for none of them for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.cli.doctor_checks.finding import Finding, Say
from worker.cli.errors import explain

#: s. Time for all checks together. Each has shorter time-outs of its own (a connection gets 5 to 10 s); this
#: one is for what knows none, such as a name server or a network file system that does not answer.
WITHIN_S = 12.0


@dataclass(frozen=True, slots=True)
class Results:
    """What all checks found."""

    #: In the order of the checks.
    findings: tuple[Finding, ...]
    #: A check is still under way in its thread, so an ordinary exit might wait for it.
    has_hung: bool


@dataclass(slots=True)
class _Running:
    """One check in a thread of its own, which does not keep the process alive."""

    name: str
    check: Callable[[Say], None]
    findings: list[Finding] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"check {self.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.check(self.findings.append)
        except Exception as error:  # noqa: BLE001 - what ends one check must not end the others
            problem = explain(error)
            self.findings.append(Finding(self.name, "wrong", problem.message.rstrip("."), problem.advice))


def run_side_by_side(checks: Mapping[str, Callable[[Say], None]], *, within_s: float = WITHIN_S) -> Results:
    """Run all checks at once; one that takes longer than ``within_s`` is left behind and told as wrong."""
    deadline = time.monotonic() + within_s
    running = [_Running(name, check) for name, check in checks.items()]
    findings: list[Finding] = []
    has_hung = False
    for each in running:
        each.thread.join(max(0.0, deadline - time.monotonic()))
        findings += each.findings
        if each.thread.is_alive():
            has_hung = True
            text = f"no answer within {within_s:g} s"
            findings.append(Finding(each.name, "wrong", text, "look at its address and at the network"))
    return Results(tuple(findings), has_hung)
