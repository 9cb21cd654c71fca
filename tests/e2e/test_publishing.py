"""The examples of docs/publishing.md do what they say."""

import asyncio
import os
import sys
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from contracts import topics
from local.paths import ROOT

Shop = Any

EXAMPLES = ROOT / "examples"


async def run(*command: str, **environment: str) -> str:
    """Run an example as a reader would; what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_the_python_example_publishes_an_order(shop: Shop) -> None:
    command = [sys.executable, str(EXAMPLES / "publish_order.py"), "--bootstrap-servers", shop.system.bootstrap_servers]
    command += ["--shop", shop.id, "--member", "anna", "--order", "my-1", "--cents", "2599"]
    await run(*command)
    await run(*command)  # twice does no harm
    await shop.until_balance(available=25)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_kafkas_own_console_producer_publishes_an_order_in_whatever_codec(shop: Shop, codec: str) -> None:
    await run(
        "bash",
        str(EXAMPLES / "publish_with_console_tools.sh"),
        BOOTSTRAP_SERVERS=shop.system.bootstrap_servers,
        PRODUCER=f"{sys.executable} -m local tool console-producer --compression-codec {codec}",
        SHOP=shop.id,
        MEMBER="anna",
        ORDER="my-2",
        CENTS="1250",
    )
    await shop.until_balance(available=12)


async def test_how_long_an_event_stays_is_counted_from_when_it_came(shop: Shop) -> None:
    """What is of years ago, and told with its own time, would be deleted before anyone has read it."""
    producer = AIOKafkaProducer(bootstrap_servers=shop.system.bootstrap_servers)
    await producer.start()
    try:
        sent_at = int(1000 * time.time())
        sent = await producer.send_and_wait(topics.ACTIVITIES.name, b"{}", timestamp_ms=1_000)
    finally:
        await producer.stop()
    assert sent.timestamp_type == 1
    assert sent.timestamp >= sent_at
