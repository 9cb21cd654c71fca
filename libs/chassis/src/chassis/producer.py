"""A producer that never connects a second time.

A broker that comes back from a loss of power may have lost what it had acknowledged. aiokafka goes on as soon as it is
back, with what was under way and what is asked next, and so newer records would stand where older ones are missing.
Here whoever sends is told that the connection broke, and finds out first what is there.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from chassis.kafka import brokers, tell_of_ends
from chassis.settings import ServiceSettings

MAX_BATCH_BYTES: Final = 768 * 1024
"""Bytes of one Kafka batch: over the largest event with its headers, under the broker's limit of 1 MiB."""

Sent = TypeVar("Sent")

STOP_SECONDS: Final = 5.0
"""For a producer to end: it flushes, which a broker that is away never lets it, or lets go of what is under way."""


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer as it is, without a flush: left alone it would connect and send again as soon as it can."""
    sender = producer._sender.sender_task  # noqa: SLF001
    if sender is not None:
        sender.cancel()
        await asyncio.wait([sender], timeout=STOP_SECONDS)
    producer._closed = True  # noqa: SLF001
    await producer.client.close()


class Producer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka ships no types
    """Sends whole batches until one of its connections breaks."""

    def __init__(self, settings: ServiceSettings) -> None:
        super().__init__(
            **brokers(settings),
            acks="all",
            enable_idempotence=True,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=4 * MAX_BATCH_BYTES,
            linger_ms=0,
        )
        self._broken = asyncio.get_running_loop().create_future()
        tell_of_ends(self.client, self._end)

    @property
    def is_broken(self) -> bool:
        """Whether it is of no use any more, because a connection ended, if only for want of use."""
        return self._broken.done()

    async def unless_broken(self, sending: Coroutine[Any, Any, Sent]) -> Sent:
        """What sending gives. Raises `KafkaConnectionError` when a connection breaks first, whatever is waited for."""
        task = asyncio.create_task(sending)
        try:
            await asyncio.wait([task, self._broken], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise KafkaConnectionError("the connection broke before Kafka's answer")
            return task.result()
        finally:
            task.cancel()

    async def hang_up(self) -> None:
        """End it, in whatever state its broker is; what that has not acknowledged is its user's to send again."""
        if self.is_broken:
            await abandon(self)
            return
        try:
            await asyncio.wait_for(self.stop(), STOP_SECONDS)
        except TimeoutError:
            await self.client.close()

    def _end(self) -> None:
        """A connection is closed: nothing more is sent, neither on another one nor again."""
        if not self._broken.done():
            self._broken.set_result(None)
        if self._sender.sender_task is not None:
            self._sender.sender_task.cancel()
