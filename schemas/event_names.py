"""The names that both sides of the bus must spell alike."""

from __future__ import annotations

from typing import Final

#: The CloudEvents version spoken here, in both directions.
SPEC_VERSION: Final = "1.0"

ASKED: Final = "contact.question.asked"
ANSWERED: Final = "contact.question.answered"
FAILED: Final = "contact.question.failed"
PROGRESS: Final = "contact.question.progress"
RATED: Final = "contact.answer.rated"

#: The ``source`` of every reply; also its AMQP ``app_id``.
REPLY_SOURCE: Final = "askrelay"

#: The provider named in every reply: the API that was asked.
PROVIDER: Final = "customgpt"

#: Content type of a structured CloudEvent in JSON, which is what replies are written in.
STRUCTURED_JSON: Final = "application/cloudevents+json"

#: Bytes; a larger body is refused before it is parsed. A question is a few KiB, and 64 KiB is what every
#: intermediary of CloudEvents has to forward.
MAX_EVENT_BYTES: Final = 65_536

#: Levels of objects and arrays, the outermost one counted. Deeper JSON attacks parsers; it asks nothing.
MAX_EVENT_DEPTH: Final = 32

#: Bytes of UTF-8 in an event's id and in its source: AMQP properties, which carry both, end there.
MAX_ID_BYTES: Final = 255
