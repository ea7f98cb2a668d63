"""The two APIs that the Assistant port is tested on: the simulated one and the sandbox over HTTP."""

from __future__ import annotations

import asyncio
import math
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tests.simulation.api import ApiTimes, SimApi
from tests.simulation.assistant import SimAssistant
from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimProcess
from tests.simulation.trace import Trace
from worker.adapters.customgpt import CustomGpt, CustomGptConfig
from worker.core.ports import Assistant
from worker.sandbox.process import SandboxProcess

#: A scenario gets the API as a worker reaches it.
Scenario = Callable[[Assistant], Awaitable[None]]

#: s. A lag that no test lives to see the end of.
FOREVER_S = 1e6

#: Every fault by its name in the simulation, with what the sandbox does for it.
SANDBOX_FAULTS: dict[str, dict[str, Any]] = {
    "error_before": {"kind": "reply", "status": 502, "when": "before_work"},
    "error_after": {"kind": "reply", "status": 504, "when": "after_work"},
    "error_before_own": {"kind": "reply", "status": 500, "body": "envelope", "when": "before_work"},
    "error_after_own": {"kind": "reply", "status": 500, "body": "envelope", "when": "after_work"},
    "garbage": {"kind": "reply", "status": 200, "body": "garbage", "when": "after_work"},
    "request_lost": {"kind": "reset", "when": "before_work"},
    "response_lost": {"kind": "reset", "when": "after_work"},
    "throttled": {"kind": "throttle"},
    "read_failed": {"kind": "reply", "status": 502},
    "credits_gone": {"kind": "credits"},
    "out_of_queries": {"kind": "answer", "answer": "out_of_queries"},
    "question_rejected": {"kind": "reply", "status": 400},
}


class World(Protocol):
    """One of the two."""

    def run(self, scenario: Scenario) -> None:
        """Run a scenario to its end."""
        ...

    def fault(self, name: str) -> Any:
        """Let every request fail in this way, in a block."""
        ...

    def lag(self, what: str) -> Any:
        """Let what is made in a block be listed late: ``list_lag`` or ``message_lag``."""
        ...

    async def let_lag_pass(self) -> None:
        """Let the time pass after which it is listed."""
        ...


class Simulated:
    """The simulated API with all faults off, on virtual time."""

    def __init__(self) -> None:
        chance = random.Random(1)
        self._loop = VirtualLoop(chance)
        self._faults = Faults(chance, {}, math.inf, self._loop.time)
        trace = Trace(self._loop.time, is_kept=False)
        self._times = ApiTimes(request_timeout_s=120.0, settle_s=300.0, list_lag_s=30.0)
        self._api = SimApi(self._times, self._faults, trace)
        self._process = SimProcess(
            name="worker",
            loop=self._loop,
            strand=self._loop.new_strand("worker"),
            trace=trace,
            faults=self._faults,
            boot_offset_s=0.0,
            longest_pause_s=0.0,
            on_crash=lambda _: None,
            on_pause=lambda _process, _seconds: None,
        )

    def run(self, scenario: Scenario) -> None:
        """See World."""
        assistant = SimAssistant(self._process, self._api, user_timeout_s=10.0, send_grace_s=2.0)

        async def main() -> None:
            await scenario(assistant)

        try:
            self._loop.run_until_complete(self._loop.start(self._process.strand, main()))
        finally:
            self._loop.close()

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """See World. What the simulation plans as a window of time is one here too."""
        window = f"{name}_until"
        if hasattr(self._api, window):
            setattr(self._api, window, math.inf)
        elif name == "question_rejected":
            pass  # the simulation tells such a question by its text
        else:
            self._faults.rates[name] = 1.0
        try:
            yield
        finally:
            self._faults.rates.clear()
            if hasattr(self._api, window):
                setattr(self._api, window, 0.0)

    lag = fault

    async def let_lag_pass(self) -> None:
        """See World."""
        await asyncio.sleep(self._times.settle_s)


class Sandboxed:
    """The adapter against a sandbox in a process of its own."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self._sandbox = sandbox
        self._url = sandbox.url
        self._key = "1|any"

    def run(self, scenario: Scenario) -> None:
        """See World."""

        async def main() -> None:
            config = CustomGptConfig(api_url=self._url)
            async with CustomGpt(config, key=lambda: self._key, log=lambda *_, **__: None) as api:
                self._open = api
                await scenario(api)

        asyncio.run(main())

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """See World."""
        if name == "refused":
            with self._refusing():
                yield
            return
        if name == "key_rejected":
            self._key = "wrong"
        else:
            self._sandbox.set_faults({"action": SANDBOX_FAULTS[name]})
        try:
            yield
        finally:
            self._key = "1|any"
            self._sandbox.set_faults()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Reach for a port that nobody listens on: the sandbox itself serves other tests too."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address, self._open._api_url = self._open._api_url, f"http://127.0.0.1:{nobody.getsockname()[1]}"
            try:
                yield
            finally:
                self._open._api_url = address

    @contextmanager
    def lag(self, what: str) -> Iterator[None]:
        """See World."""
        switch = {"list_lag": "conversation_list_lag_s", "message_lag": "message_list_lag_s"}[what]
        self._sandbox.set_switches(**{switch: FOREVER_S})
        yield

    async def let_lag_pass(self) -> None:
        """See World."""
        self._sandbox.set_switches(conversation_list_lag_s=0.0, message_list_lag_s=0.0)
