"""FastStream + aiohttp: the framework's own way of taking a model in and sending a model out.

Its command uses uvloop by itself where that is installed, as it is here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from work import (
    AMQP_URL,
    CONVERSATIONS_URL,
    EXCHANGE,
    HEADERS,
    IN_FLIGHT,
    QUEUE,
    REPLY_KEY,
    TIMEOUT_S,
    Answered,
    Asked,
    Conversations,
    answered,
    messages_url,
)

broker = RabbitBroker(AMQP_URL, default_channel=Channel(prefetch_count=IN_FLIGHT), logger=None)
replies = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
conversations = Conversations()
sessions: list[aiohttp.ClientSession] = []


@asynccontextmanager
async def http_session() -> AsyncIterator[None]:
    """Have one HTTP session while the application runs."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    ) as session:
        sessions.append(session)
        yield


app = FastStream(broker, lifespan=http_session)


async def post(url: str, body: dict[str, str], **parameters: str) -> dict[str, object]:
    """Make a call to the API and return its data."""
    async with sessions[0].post(url, params=parameters, json=body, raise_for_status=True) as response:
        return (await response.json())["data"]


@broker.subscriber(RabbitQueue(QUEUE, durable=True), ack_policy=AckPolicy.NACK_ON_ERROR)
@broker.publisher(exchange=replies, routing_key=REPLY_KEY, persist=True, mandatory=True)
async def answer(asked: Asked) -> Answered:
    """Answer one question; it is acked when the reply is confirmed."""
    contact = asked.data.contact_id
    session_id = conversations.session_of(contact)
    if session_id is None:
        session_id = str((await post(CONVERSATIONS_URL, {"name": contact}))["session_id"])
        conversations.remember(contact, session_id)
    said = await post(messages_url(session_id), {"prompt": asked.data.question}, external_id=contact)
    return answered(asked, session_id, said)
