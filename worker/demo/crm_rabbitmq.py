"""The CRM's side on a real broker: an exchange and queues of the demo's own, removed afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import ConnectionWrongStateError

from schemas import ASKED, STRUCTURED_JSON
from worker.adapters.local_bus import LocalBusServer
from worker.adapters.rabbitmq.config import connection_parameters
from worker.adapters.rabbitmq.topology import QUESTION_QUEUE_ARGUMENTS
from worker.demo.crm import REPLY_KEYS, OnReply

#: s. How long one look at the connection lasts: an order to stop is seen after it at the latest.
LOOK_S = 0.2
#: s. A broker with an alarm takes no questions, nor answers an order to remove anything: the demo gives up.
BLOCKED_S = 10.0


class RabbitmqCrm:
    """Publishes and collects in a thread of its own, which also takes everything away at its end."""

    server: LocalBusServer | None = None

    def __init__(self, url: str, *, ca_file: Path | None) -> None:
        self._url = url
        self._ca_file = ca_file
        # Random, so that neither the real names nor another demo's are ever touched.
        self._prefix = f"askrelay.demo.{secrets.token_hex(6)}"
        self._thread: threading.Thread | None = None
        self._is_ending = threading.Event()
        self._is_ready = asyncio.Event()
        self._error: Exception | None = None
        self._waiting: deque[tuple[bytes, str]] = deque()
        #: Ends the thread's look at the connection.
        self._wake: Callable[[], None] = lambda: None

    async def start(self, on_reply: OnReply) -> None:
        """Connect, declare and collect from now on. Raises what pika raises."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=[loop, on_reply], name="crm", daemon=True)
        self._thread.start()
        await self._is_ready.wait()
        self.check()

    def settings(self) -> dict[str, str]:
        """Return the settings by which workers find this bus."""
        settings = {
            "RABBITMQ_URL": self._url,
            "ASKRELAY_EVENTS_EXCHANGE": self._name("events"),
            "ASKRELAY_QUESTION_QUEUE": self._name("questions"),
            "ASKRELAY_REJECTED_QUEUE": self._name("rejected"),
            "ASKRELAY_DOORBELL_QUEUE": self._name("doorbell"),
        }
        return settings if self._ca_file is None else {**settings, "RABBITMQ_CA_FILE": str(self._ca_file)}

    def ask(self, event: bytes, event_id: str) -> None:
        """Hand a question to the thread, and wake it."""
        self._waiting.append((event, event_id))
        with contextlib.suppress(ConnectionWrongStateError):  # check tells why it is closed
            self._wake()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Collect what is left and remove everything; may be called twice."""
        self._is_ending.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self, loop: asyncio.AbstractEventLoop, on_reply: OnReply) -> None:
        try:
            with pika.BlockingConnection(self._parameters()) as connection:
                self._serve(connection, loop, on_reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, ``check`` tells it; nobody else sees this thread
            self._error = error
        finally:
            loop.call_soon_threadsafe(self._is_ready.set)

    def _serve(self, connection: Any, loop: asyncio.AbstractEventLoop, on_reply: OnReply) -> None:
        channel = connection.channel()
        try:
            replies = self._declare(channel)
            channel.basic_consume(
                replies,
                lambda _channel, _method, _properties, body: loop.call_soon_threadsafe(
                    self._collect, on_reply, body
                ),
                auto_ack=True,
            )
            self._wake = lambda: connection.add_callback_threadsafe(lambda: None)
            loop.call_soon_threadsafe(self._is_ready.set)
            while not self._is_ending.is_set():
                self._publish(channel)
                connection.process_data_events(LOOK_S)
            # Its answer comes behind whatever was delivered before it.
            channel.queue_declare(replies, passive=True)
            connection.process_data_events(0)
        finally:
            self._remove(connection)

    def _collect(self, on_reply: OnReply, body: bytes) -> None:
        """Hand a reply over, on the loop, which would only log what is raised there."""
        try:
            on_reply(body)
        except Exception as error:  # noqa: BLE001 - ``check`` raises it
            self._error = self._error or error

    def _publish(self, channel: Any) -> None:
        """Publish what waits. Without confirms: should the connection fail, the demo fails with it."""
        while self._waiting:
            event, event_id = self._waiting.popleft()
            properties = pika.BasicProperties(  # type: ignore[no-untyped-call]
                content_type=STRUCTURED_JSON, message_id=event_id, delivery_mode=2
            )
            channel.basic_publish(self._name("events"), ASKED, event, properties)

    def _declare(self, channel: Any) -> str:
        """Declare what events go through, as a CRM that was there first would find it."""
        exchange, questions = self._name("events"), self._name("questions")
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_declare(questions, durable=True, arguments=QUESTION_QUEUE_ARGUMENTS)
        channel.queue_bind(questions, exchange, ASKED)
        replies: str = channel.queue_declare(self._name("replies"), exclusive=True).method.queue
        for key in REPLY_KEYS:
            channel.queue_bind(replies, exchange, key)
        return replies

    def _remove(self, connection: Any) -> None:
        """Remove everything, on a channel of its own: the other may be closed because of an error."""
        if not connection.is_open:
            return
        channel = connection.channel()
        for name in ("questions", "rejected", "doorbell", "doorbell.DQ", "doorbell.XQ", "replies"):
            channel.queue_delete(self._name(name))
        channel.exchange_delete(self._name("events"))

    def _parameters(self) -> Any:
        parameters = connection_parameters(self._url, ca_file=self._ca_file, connection_name="askrelay demo")
        parameters.blocked_connection_timeout = BLOCKED_S
        return parameters

    def _name(self, part: str) -> str:
        return f"{self._prefix}.{part}"
