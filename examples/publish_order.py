"""Publish one paid order to Accrual, as a shop's platform would. Copy what you need; it depends on aiokafka alone.

python examples/publish_order.py --bootstrap-servers 127.0.0.1:9192 --shop demo --member h-1 --order my-1 --cents 2599
"""

# ruff: noqa: INP001 - a script to copy, no package

import argparse
import asyncio
import json
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer


def paid_order(*, shop: str, member: str, order: str, cents: int, revision: int) -> dict[str, object]:
    """The whole state of the order. Every later event of the same order carries it again, with a higher revision."""
    now = datetime.now(UTC).isoformat()
    return {
        "shop": shop,
        "order": order,
        "revision": revision,  # grows with every change; `updated_at` in microseconds will do
        "member": member,  # an opaque id: no e-mail address, no phone number
        "channel": "online",
        "currency": "USD",
        "lines": [{"line": "1", "product": "coffee", "categories": ["grocery"], "quantity": 1, "unit_price": cents}],
        "tenders": [{"kind": "card", "amount": cents}],
        "placed_at": now,
        "paid_at": now,
    }


async def publish(bootstrap_servers: str, event_type: str, order: dict[str, object]) -> None:
    """Send an event and wait until Kafka has it. Sending it twice does no harm."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"{order['order']}-{order['revision']}",
        "ce_source": f"/shops/{order['shop']}",
        "ce_type": event_type,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(
            "orders",
            key=f"{order['shop']}/{order.get('member') or order['order']}".encode(),
            value=json.dumps(order).encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
    finally:
        await producer.stop()


def main() -> None:
    """Parse and publish."""
    parser = argparse.ArgumentParser(description="Publish one paid order.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9192")
    parser.add_argument("--shop", default="demo")
    parser.add_argument("--member", required=True)
    parser.add_argument("--order", required=True)
    parser.add_argument("--cents", type=int, required=True)
    parser.add_argument("--revision", type=int, default=1)
    given = parser.parse_args()
    order = paid_order(
        shop=given.shop, member=given.member, order=given.order, cents=given.cents, revision=given.revision
    )
    asyncio.run(publish(given.bootstrap_servers, "order-paid", order))


if __name__ == "__main__":
    main()
