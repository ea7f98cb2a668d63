"""dramatiq's RabbitMQ broker, cut down to one queue of rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.exceptions import AMQPError, ChannelClosedByBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.connection import Parameters

#: Milliseconds a ring lasts in the queue. Older ones say nothing that the next look does not find.
RING_LASTS_MS = 60_000

#: Rings a queue holds. A process takes one for all that waits, so more than one each helps nobody.
RINGS_AT_MOST = 1_000


class DoorbellBroker(RabbitmqBroker):
    """A broker with one queue: no delayed rings, no dead ones, and foreign messages dropped.

    dramatiq would consume from a queue of delayed messages too and send failures to a third; rings are
    neither delayed nor kept. An own broker, never set as the global one, leaves the user's dramatiq alone.
    """

    def __init__(self, new_parameters: Callable[[], Parameters], *, is_ours: Callable[[bytes], bool]) -> None:
        self._new_parameters = new_parameters
        self.is_ours = is_ours
        super().__init__(middleware=[])

    @property
    def parameters(self) -> Any:
        """Parameters of a connection, new ones each time: threads must not share them."""
        return self._new_parameters()

    @parameters.setter
    def parameters(self, _: Any) -> None:
        """Ignore what dramatiq would connect to by default."""

    @property
    def consumer_class(self) -> Any:
        """Return dramatiq's consumer, which gets only rings to see."""
        is_ours = self.is_ours
        base: Any = super().consumer_class

        class RingConsumer(base):  # type: ignore[misc]
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                self.iterator: Any = only_rings(self.iterator, self.channel, is_ours)

        return RingConsumer

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Announce the queue to dramatiq; with ``ensure``, make it on the server where it is missing.

        Looked for every time: a queue that was deleted would otherwise swallow rings until a restart.
        """
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)
        if ensure:
            try:
                self._ensure(queue_name)
            except AMQPError as error:
                del self.connection
                raise dramatiq.ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def _ensure(self, queue_name: str) -> None:
        try:
            # An existing queue is used as it is, whatever its arguments.
            self.channel.queue_declare(queue_name, passive=True)
        except ChannelClosedByBroker:
            del self.channel
            limits = {"x-message-ttl": RING_LASTS_MS, "x-max-length": RINGS_AT_MOST}
            self.channel.queue_declare(queue_name, durable=True, arguments=limits)


def only_rings(
    messages: Iterator[Any], channel: Any, is_ours: Callable[[bytes], bool]
) -> Iterator[tuple[Any, Any, Any]]:
    """Pass rings on and drop everything else.

    dramatiq's consumer dies of JSON that is no message, and its worker thread of a message for another queue,
    and the broker delivers both again and again: one such body would silence the doorbell for good.
    """
    for method, properties, body in messages:
        if method is None or is_ours(body):
            yield method, properties, body
        else:
            channel.basic_reject(method.delivery_tag, requeue=False)
            yield None, None, None
