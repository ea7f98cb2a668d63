"""Three private RabbitMQ nodes in one cluster, behind one address."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Self

import pika

from tests.servers.front import Front
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.reaper import Reaper

#: The fewest of which one may die and the others still agree.
NODES = 3


class RabbitMQCluster:
    """A cluster that is whole when it starts (20 s). A context manager that leaves nothing running."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._open = ExitStack()
        self.nodes: list[RabbitMQ] = []

    def __enter__(self) -> Self:
        for number in range(NODES):
            first = self.nodes[0] if number else None
            node = self._open.enter_context(closing(RabbitMQ(self._reaper, beside=first)))
            self.nodes.append(node)
            node.start()
            if first is not None:
                node.join()
        self._front = self._open.enter_context(Front([node.port for node in self.nodes]))
        return self

    def __exit__(self, *_: object) -> None:
        # The first node has the port mapper of all: it goes last.
        self._open.close()

    @property
    def url(self) -> str:
        """Where the first node is that is up."""
        return f"amqp://guest:guest@127.0.0.1:{self._front.port}/"

    def connect(self) -> pika.BlockingConnection:
        """Open a connection to the first node that is up."""
        return pika.BlockingConnection(pika.URLParameters(self.url))
