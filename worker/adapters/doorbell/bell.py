"""A dramatiq message that says "somebody waits", and an embedded worker that hears it.

Nothing that matters travels in it. dramatiq may lose, repeat or reorder a ring, and a broker that is away
only means that nobody rings: every process looks by itself every few seconds (PROTOCOL 3).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import threading
import time
from dataclasses import fields
from typing import TYPE_CHECKING

import dramatiq

from worker.adapters.doorbell.broker import DoorbellBroker
from worker.adapters.rabbitmq.config import connection_parameters
from worker.core.errors import DoorbellError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pika.connection import Parameters

    from worker.core.ports import Log

#: The actor's name in every message.
ACTOR = "ring"

#: Milliseconds after which dramatiq's threads look whether they shall end; half a second keeps a stop short.
LOOK_MS = 500

#: Seconds between two looks of the ringing thread at its idle connection: it answers the broker's heartbeats
#: there, which a broker misses after twice HEARTBEAT_S.
IDLE_S = 10.0

#: Seconds between two rings of one process. The first goes out at once, and the process that rings claims
#: without waiting for its own ring, so a flood of rings would only cost the fleet empty looks.
SPACING_S = 0.05

#: Seconds a stop may take. A consumer that sleeps before a reconnect wakes after dramatiq's 3 s; a thread
#: that hangs in a connect attempt is left behind, it is a daemon.
STOP_S = 8.0

#: What a ring consists of: exactly the fields that this version of dramatiq reads.
FIELDS = {each.name for each in fields(dramatiq.Message)}


class Doorbell:
    """Rings for the fleet over RabbitMQ and listens for its rings."""

    def __init__(
        self,
        url: str,
        queue_name: str,
        ledger_id: str,
        *,
        threads: int = 2,
        log: Log,
        ca_file: Path | str | None = None,
    ) -> None:
        self._url = url
        self._ca_file = ca_file
        self._queue_name = queue_name
        self._ledger_id = ledger_id
        self._threads = threads
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_ring: Callable[[], Awaitable[None]] | None = None
        self._waiting: set[concurrent.futures.Future[None]] = set()
        self._is_wanted = threading.Event()
        self._is_stopping = False
        self._is_silent = False
        #: Rings that could not be sent.
        self.rings_lost = 0
        #: Messages in the queue that were no rings for this ledger.
        self.rings_refused = 0
        self._broker = DoorbellBroker(self._parameters, is_ours=self._is_ours)
        self._actor: dramatiq.Actor[[str], None] = dramatiq.Actor(
            self._hear, broker=self._broker, actor_name=ACTOR, queue_name=queue_name, priority=0, options={}
        )
        self._worker = dramatiq.Worker(self._broker, worker_timeout=LOOK_MS, worker_threads=threads)
        self._ringer = threading.Thread(target=self._send_rings, name="doorbell ringer", daemon=True)

    async def start(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        """Listen in threads of its own; a broker that is away is tried again by dramatiq every 3 s."""
        self._loop = asyncio.get_running_loop()
        self._on_ring = on_ring
        self._worker.start()
        self._ringer.start()

    def ring(self) -> None:
        """Ring for the fleet from a thread of its own; rings that are not sent yet become one."""
        self._is_wanted.set()

    async def stop(self) -> None:
        """Stop listening and ringing, within STOP_S."""
        if self._is_stopping or self._loop is None:
            return
        self._is_stopping = True
        for future in list(self._waiting):
            future.cancel()
        self._is_wanted.set()
        is_closed = asyncio.Event()
        loop = self._loop

        def close() -> None:
            try:
                self._ringer.join(STOP_S)
                self._worker.stop(timeout=int(STOP_S * 1000))
                self._broker.close()
            finally:
                # A stop that took too long is not waited for, and its loop is closed by now.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(is_closed.set)

        # Not a thread of the loop's pool: the loop would wait for it at its end, however long it hangs.
        threading.Thread(target=close, name="doorbell stop", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await is_closed.wait()
        except TimeoutError:
            self._log(
                "doorbell.abandoned", detail="a connection attempt hangs; its thread ends with the process"
            )

    def _hear(self, _ledger_id: str) -> None:
        """Tell the loop, and be busy until it has taken what it could: that is the back-pressure."""
        assert self._loop is not None
        assert self._on_ring is not None
        if self._is_stopping:
            return
        heard = self._answer(self._on_ring)
        try:
            future = asyncio.run_coroutine_threadsafe(heard, self._loop)
        except RuntimeError:
            # The loop is closed: the process ends, and others hear the next ring.
            heard.close()
            return
        self._waiting.add(future)
        try:
            if not self._is_stopping:
                future.result()
        except concurrent.futures.CancelledError:
            pass
        finally:
            self._waiting.discard(future)

    async def _answer(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        """Await the listener; what it raises is its own affair and must not cost the ring's thread."""
        try:
            await on_ring()
        except Exception as error:  # noqa: BLE001 - a ring never fails
            self._log("doorbell.failed", error_code=DoorbellError.code, detail=type(error).__name__)

    def _is_ours(self, body: bytes) -> bool:
        """Tell a ring for this ledger from anything else; read strictly, for dramatiq reads trustingly."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            message = None
        ring = {
            "queue_name": self._queue_name,
            "actor_name": ACTOR,
            "args": [self._ledger_id],
            "kwargs": {},
            "options": {},
        }
        if isinstance(message, dict) and set(message) == FIELDS and {**message, **ring} == message:
            return True
        self.rings_refused += 1
        if self.rings_refused == 1:
            # Once is enough: two ledgers on one queue refuse half of each other's rings, all day long.
            self._log("doorbell.refused", queue=self._queue_name, detail="not a ring for this ledger")
        return False

    def _parameters(self) -> Parameters:
        parameters = connection_parameters(
            self._url, ca_file=self._ca_file, connection_name="askrelay doorbell"
        )
        # A blocked ring would hold its thread for as long as the broker is short of memory.
        parameters.blocked_connection_timeout = STOP_S
        return parameters

    def _send_rings(self) -> None:
        while not self._is_stopping:
            if self._is_wanted.wait(IDLE_S):
                self._is_wanted.clear()
                if not self._is_stopping:
                    self._send_ring()
                    time.sleep(SPACING_S)
            elif not self._is_silent:
                self._keep_alive()
        del self._broker.connection

    def _send_ring(self) -> None:
        try:
            self._actor.send(self._ledger_id)
        except Exception as error:  # noqa: BLE001 - nothing about a ring may end this thread
            self.rings_lost += 1
            if not self._is_silent:
                self._is_silent = True
                self._log("doorbell.silent", error_code=DoorbellError.code, detail=type(error).__name__)
        else:
            if self._is_silent:
                self._is_silent = False
                self._log("doorbell.restored", rings_lost=self.rings_lost)

    def _keep_alive(self) -> None:
        """Answer heartbeats; a connection that is lost is made anew by the next ring."""
        try:
            self._broker.connection.process_data_events(0)
        except Exception:  # noqa: BLE001 - the next ring says what is wrong
            del self._broker.connection
