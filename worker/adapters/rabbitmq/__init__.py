"""RabbitMQ behind the Bus port: two connections, one to consume and one to publish."""

from worker.adapters.rabbitmq.bus import RabbitmqBus
from worker.adapters.rabbitmq.config import BusConfig
from worker.adapters.rabbitmq.topology import TopologyError

__all__ = ["BusConfig", "RabbitmqBus", "TopologyError"]
