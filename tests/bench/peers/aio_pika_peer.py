"""aio-pika + aiohttp + uvloop: no framework, the strongest of what people write."""

from __future__ import annotations

import asyncio

import aio_pika
import aiohttp
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from work import (
    AMQP_URL,
    CONVERSATIONS_URL,
    EXCHANGE,
    HEADERS,
    IN_FLIGHT,
    QUEUE,
    REPLY_KEY,
    TIMEOUT_S,
    Asked,
    Conversations,
    answered,
    messages_url,
)


async def main() -> None:
    """Consume until killed."""
    conversations = Conversations()
    connection = await aio_pika.connect_robust(AMQP_URL)
    consuming = await connection.channel()
    await consuming.set_qos(prefetch_count=IN_FLIGHT)
    publishing = await connection.channel(publisher_confirms=True)
    exchange = await publishing.get_exchange(EXCHANGE, ensure=False)
    queue = await consuming.get_queue(QUEUE, ensure=False)
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )

    async def post(url: str, body: dict[str, str], **parameters: str) -> dict[str, object]:
        async with http.post(url, params=parameters, json=body, raise_for_status=True) as response:
            return (await response.json())["data"]

    async def answer(message: AbstractIncomingMessage) -> None:
        async with message.process(requeue=True):
            asked = Asked.model_validate_json(message.body)
            contact = asked.data.contact_id
            session_id = conversations.session_of(contact)
            if session_id is None:
                session_id = str((await post(CONVERSATIONS_URL, {"name": contact}))["session_id"])
                conversations.remember(contact, session_id)
            said = await post(messages_url(session_id), {"prompt": asked.data.question}, external_id=contact)
            reply = aio_pika.Message(
                answered(asked, session_id, said).model_dump_json().encode(),
                content_type="application/cloudevents+json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(reply, routing_key=REPLY_KEY, mandatory=True)

    await queue.consume(answer)
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main())
