"""A CRM that keeps at it: every question is published until the broker has confirmed it, in order."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError

from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

#: s. Pause before a publish that failed is tried again.
AGAIN_S = 0.1
#: s. A broker that takes longer than this to answer is asked anew on another connection.
SILENT_S = 20.0


def event_of(question: Asked) -> bytes:
    """Return the event that asks a question."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": question.event_id,
            "source": "crm/test",
            "type": "contact.question.asked",
            "data": {"contact_id": question.contact_id, "question": question.question},
        }
    ).encode()


class Crm:
    """Publishes in a thread of its own, one after the other, over as many connections as it takes."""

    def __init__(self, rabbitmq: RabbitMQ, names: AmqpNames, *, pause_s: float = 0.0) -> None:
        """``pause_s`` stands between two questions, so that a load lasts."""
        self._rabbitmq = rabbitmq
        self._names = names
        self._pause_s = pause_s
        self._waiting: deque[Asked] = deque()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crm", daemon=True)
        #: Confirmed by the broker.
        self.confirmed: list[Asked] = []
        #: Publishes that had to be made again.
        self.repeated = 0
        self._thread.start()

    def ask(self, questions: Iterable[Asked]) -> None:
        """Have questions published, after those that wait."""
        self._waiting.extend(questions)

    def ask_now(self, questions: Sequence[Asked], *, within_s: float = 60) -> None:
        """Have questions published, and return when the broker has them all."""
        before = len(self.confirmed)
        self.ask(questions)
        until = time.monotonic() + within_s
        while len(self.confirmed) < before + len(questions):
            if time.monotonic() > until:
                raise TimeoutError("the broker did not confirm the questions")
            time.sleep(0.01)

    @property
    def waiting(self) -> int:
        """How many the broker has not confirmed yet."""
        return len(self._waiting)

    def close(self) -> None:
        """End the thread; what waits is not asked."""
        self._is_ending.set()
        self._thread.join(SILENT_S * 2)

    def _run(self) -> None:
        while not self._is_ending.is_set():
            with contextlib.suppress(AMQPError, OSError), self._connect() as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                while not self._is_ending.is_set():
                    if self._waiting:
                        self._publish(channel, self._waiting[0])
                        self.confirmed.append(self._waiting.popleft())
                        if self._pause_s:
                            connection.sleep(self._pause_s)
                    else:
                        connection.sleep(0.01)
            self._is_ending.wait(AGAIN_S)

    def _connect(self) -> pika.BlockingConnection:
        parameters = pika.URLParameters(self._rabbitmq.url)
        # Blocked by a broker without memory, or talking to one that died: begin anew after a while.
        parameters.blocked_connection_timeout = SILENT_S
        parameters.socket_timeout = 2.0
        return pika.BlockingConnection(parameters)

    def _publish(self, channel: Any, question: Asked) -> None:
        properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
        body = event_of(question)
        while not self._is_ending.is_set():
            try:
                channel.basic_publish(
                    self._names.events_exchange, "contact.question.asked", body, properties, mandatory=True
                )
            except (UnroutableError, NackError):
                # Nobody took it: the queue is away. A CRM that stops here would lose the question.
                self.repeated += 1
                time.sleep(AGAIN_S)
            except (AMQPError, OSError):
                self.repeated += 1
                raise
            else:
                return
