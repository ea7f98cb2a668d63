"""The semantic conventions that our spans follow: their one version, and every name taken from them.

1.41.0 is the last version that has messaging, HTTP and GenAI conventions in one schema. The names are written
out instead of imported: the package that has them moves and deprecates them with every release, and a
dashboard built on our spans must not change because a library was updated.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# Resource.
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

# Messaging, with RabbitMQ's own.
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGING_BODY_SIZE: Final = "messaging.message.body.size"
MESSAGING_ROUTING_KEY: Final = "messaging.rabbitmq.destination.routing_key"
RABBITMQ: Final = "rabbitmq"
#: Types of operations: what the broker pushes to us is processed, what we publish is sent.
PROCESS: Final = "process"
SEND: Final = "send"
#: RabbitMQ's own name of sending.
PUBLISH: Final = "publish"

# CloudEvents.
CLOUDEVENTS_ID: Final = "cloudevents.event_id"
CLOUDEVENTS_SOURCE: Final = "cloudevents.event_source"

# HTTP.
HTTP_METHOD: Final = "http.request.method"
HTTP_STATUS: Final = "http.response.status_code"
URL_FULL: Final = "url.full"
URL_TEMPLATE: Final = "url.template"

# GenAI. An agent that somebody else runs is invoked; which model it asks is not told to us.
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_AGENT_ID: Final = "gen_ai.agent.id"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
INVOKE_AGENT: Final = "invoke_agent"
CUSTOMGPT: Final = "customgpt"
TEXT: Final = "text"

#: Before what no convention has a name for; what follows is the name of a log field.
OWN_PREFIX: Final = "askrelay."
