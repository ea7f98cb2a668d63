"""What exchange, queues, keys and headers are called unless a setting says otherwise.

The worker's own defaults are compared with these by a test: they are part of what a CRM relies on.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.event_names import ANSWERED, ASKED, FAILED, PROGRESS, RATED

#: A durable topic exchange, for questions and replies alike.
EVENTS_EXCHANGE: Final = "crm.events"

ASKED_KEY: Final = ASKED
ANSWERED_KEY: Final = ANSWERED
FAILED_KEY: Final = FAILED
PROGRESS_KEY: Final = PROGRESS
RATED_KEY: Final = RATED

QUESTION_QUEUE: Final = "askrelay.questions"
REJECTED_QUEUE: Final = "askrelay.rejected"

#: The highest that every broker from 3.10 to 4.x takes; 4.x drops a message after 20 returns without one.
_DELIVERY_LIMIT: Final = 2**31 - 1

#: One consumer at a time is what makes the order of arrival one order for all workers.
QUESTION_QUEUE_ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": _DELIVERY_LIMIT,
}
REJECTED_QUEUE_ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": _DELIVERY_LIMIT,
}

#: What the header of a CloudEvents attribute starts with, in any case: CloudEvents' own AMQP binding, its
#: variant for JMS, and Knative's RabbitMQ binding. The Python SDK writes the last two.
HEADER_PREFIXES: Final = ("cloudEvents:", "cloudEvents_", "ce-")

#: Headers of an event in the rejected queue.
REASON_HEADER: Final = "x-askrelay-reason"
DETAIL_HEADER: Final = "x-askrelay-detail"
HEADERS_HEADER: Final = "x-askrelay-headers"
