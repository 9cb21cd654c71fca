"""What the chassis keeps in each service's database, and what the app role may do with it."""

from typing import Final

from chassis.lanes import LANES

TABLES: Final = (
    """-- One row: how many lanes this database has, for ever.
    CREATE TABLE lane_count (
        singleton boolean PRIMARY KEY DEFAULT TRUE CHECK (singleton),
        lanes integer NOT NULL CHECK (lanes > 0)
    )""",
    f"""INSERT INTO lane_count (lanes) VALUES ({LANES:d})""",  # noqa: S608  # a constant
    """-- Events to publish: appended at the end of a lane, dropped at its beginning.
    CREATE TABLE outbox (
        lane integer NOT NULL,
        position bigint NOT NULL,
        id uuid NOT NULL,
        topic text NOT NULL,
        key text NOT NULL,
        type text NOT NULL,
        body bytea NOT NULL,
        trace text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (lane, position)
    )""",
    """-- How far the relay has sent each lane, and up to where that was so long ago that no broker can lose it.
    CREATE TABLE relay_cursor (
        lane integer PRIMARY KEY,
        position bigint NOT NULL,
        settled bigint NOT NULL DEFAULT 0
    )""",
    f"""INSERT INTO relay_cursor (lane, position)
    SELECT lane, 0 FROM generate_series(0, {LANES - 1:d}) AS lane""",  # noqa: S608  # a constant
    """-- How far Kafka had what was sent: the offset behind it, and when the broker took it, in milliseconds.
    CREATE TABLE relay_end (
        topic text NOT NULL,
        partition integer NOT NULL,
        next bigint NOT NULL,
        latest bigint NOT NULL,
        PRIMARY KEY (topic, partition)
    )""",
    """-- Who leads what, until when.
    CREATE TABLE lease (name text PRIMARY KEY, owner text NOT NULL, expires_at timestamptz NOT NULL)""",
    """-- The fence: the next offset of each partition of the topic with that id.
    CREATE TABLE consumer_offset (
        consumer text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        next bigint NOT NULL CHECK (next >= 0),
        latest bigint,
        topic_id uuid NOT NULL,
        PRIMARY KEY (consumer, topic, partition)
    )""",
    """-- Messages that can never be applied.
    CREATE TABLE dead_letter (
        id uuid PRIMARY KEY,
        consumer text NOT NULL,
        shop text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        "offset" bigint NOT NULL,
        key bytea,
        headers text NOT NULL,
        value bytea,
        code text NOT NULL,
        detail text NOT NULL,
        received_at timestamptz NOT NULL,
        replayed_at timestamptz
    )""",
    "CREATE INDEX dead_letter_by_shop ON dead_letter (shop, id)",
    "CREATE INDEX dead_letter_by_age ON dead_letter (received_at)",
    """-- Messages of shops that are not known yet or quarantined, in order of arrival.
    CREATE TABLE waiting (
        place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        consumer text NOT NULL,
        shop text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        "offset" bigint NOT NULL,
        key bytea,
        headers text NOT NULL,
        value bytea,
        received_at timestamptz NOT NULL
    )""",
    "CREATE INDEX waiting_by_shop ON waiting (consumer, shop, place)",
    """CREATE TABLE quarantine (
        consumer text NOT NULL,
        shop text NOT NULL,
        reason text NOT NULL,
        since timestamptz NOT NULL,
        PRIMARY KEY (consumer, shop)
    )""",
    """-- HTTP writes by their keys, for ever.
    CREATE TABLE idempotency (
        shop text NOT NULL,
        client text NOT NULL,
        key text NOT NULL,
        content_hash bytea NOT NULL,
        answer text,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (shop, client, key)
    )""",
)

RIGHTS: Final = {
    "lane_count": "SELECT",
    "outbox": "SELECT, INSERT, DELETE",
    "relay_cursor": "SELECT, UPDATE",
    "relay_end": "SELECT, INSERT, UPDATE",
    "lease": "SELECT, INSERT, UPDATE, DELETE",
    "consumer_offset": "SELECT, INSERT, UPDATE",
    "dead_letter": "SELECT, INSERT, UPDATE, DELETE",
    "waiting": "SELECT, INSERT, DELETE",
    "quarantine": "SELECT, INSERT, DELETE",
    "idempotency": "SELECT, INSERT, UPDATE",
}
"""What a service itself may do; no table can be altered by it."""
