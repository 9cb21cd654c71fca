"""What this service keeps: whom it tells, how far the ledger has been told, messages and their deliveries."""

from alembic import op

from chassis.migrations import apply, chassis_tables

revision = "0001"
down_revision = None

# Ids of `account` and `lot` are compared as bytes, whatever language the cluster was made for: every entry looks for
# them.
TABLES = (
    """
    CREATE TABLE account (
        account TEXT COLLATE "C" NOT NULL,
        shop TEXT COLLATE "C" NOT NULL,
        member TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        seq BIGINT NOT NULL,
        hash TEXT NOT NULL,
        available BIGINT NOT NULL,
        PRIMARY KEY (account)
    )
    """,
    "COMMENT ON TABLE account IS 'The last entry told of each account: what is at or before it has been told.'",
    """
    CREATE TABLE contact (
        shop TEXT NOT NULL,
        member TEXT NOT NULL,
        email TEXT NOT NULL,
        name TEXT,
        language TEXT,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (shop, member)
    )
    """,
    "COMMENT ON TABLE contact IS 'The only personal data of this service; deleting the row is erasure.'",
    """
    CREATE TABLE endpoint (
        shop TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        url TEXT NOT NULL,
        scenarios TEXT[],
        enabled BOOLEAN NOT NULL,
        disabled_reason TEXT,
        secret TEXT NOT NULL,
        previous_secret TEXT,
        previous_until timestamptz,
        failures INTEGER DEFAULT '0' NOT NULL,
        failing_since timestamptz,
        held_until timestamptz,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (shop, endpoint)
    )
    """,
    "COMMENT ON COLUMN endpoint.endpoint IS 'The shop''s own name for it.'",
    "COMMENT ON COLUMN endpoint.scenarios IS 'NULL: all.'",
    "COMMENT ON COLUMN endpoint.failures IS 'In a row.'",
    "COMMENT ON COLUMN endpoint.held_until IS 'Not called before; what fails for one member fails for the others.'",
    """
    CREATE TABLE look_again (
        shop TEXT COLLATE "C" NOT NULL,
        account TEXT COLLATE "C" NOT NULL,
        lot TEXT COLLATE "C" NOT NULL,
        PRIMARY KEY (shop)
    )
    """,
    "COMMENT ON TABLE look_again IS 'Shops whose lots are to be looked at again, and how far that has come.'",
    "COMMENT ON COLUMN look_again.account IS 'With `lot`: the last one that was looked at.'",
    """
    CREATE TABLE lot (
        shop TEXT COLLATE "C" NOT NULL,
        account TEXT COLLATE "C" NOT NULL,
        lot TEXT COLLATE "C" NOT NULL,
        remaining BIGINT NOT NULL,
        opened_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        announced SMALLINT,
        look_at timestamptz NOT NULL,
        PRIMARY KEY (shop, account, lot)
    )
    """,
    "CREATE INDEX lot_look_at ON lot (look_at)",
    "COMMENT ON TABLE lot IS 'Points that end, for announcing it.'",
    "COMMENT ON COLUMN lot.announced IS 'The shortest lead time announced, in days.'",
    "COMMENT ON COLUMN lot.look_at IS 'When to see whether to announce its end, or to forget it.'",
    """
    CREATE TABLE message (
        message UUID NOT NULL,
        shop TEXT NOT NULL,
        member TEXT NOT NULL,
        scenario TEXT NOT NULL,
        key TEXT NOT NULL,
        at timestamptz NOT NULL,
        facts JSONB NOT NULL,
        traceparent TEXT,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (message),
        CONSTRAINT message_once UNIQUE (shop, scenario, key)
    )
    """,
    "CREATE INDEX message_created_at ON message (created_at)",
    "CREATE INDEX message_member ON message (shop, member, message)",
    "COMMENT ON TABLE message IS 'What is told, once for each thing that happened, if there is anyone to tell.'",
    "COMMENT ON COLUMN message.key IS 'What it tells of: an entry, or a lot''s end and a lead time.'",
    """
    CREATE TABLE preference (
        shop TEXT NOT NULL,
        member TEXT NOT NULL,
        email_on BOOLEAN NOT NULL,
        muted TEXT[] NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (shop, member)
    )
    """,
    """
    CREATE TABLE setting (
        shop TEXT NOT NULL,
        settings JSONB NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (shop)
    )
    """,
    "COMMENT ON TABLE setting IS 'What a shop has set here: switches, reminders, sender. Absent: the defaults.'",
    """
    CREATE TABLE shop (
        shop TEXT NOT NULL,
        revision BIGINT NOT NULL,
        "on" BOOLEAN NOT NULL,
        zone TEXT NOT NULL,
        language TEXT NOT NULL,
        points_name TEXT NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (shop)
    )
    """,
    "COMMENT ON TABLE shop IS 'Programmes as told by `programmes`; a shop that is not here is not known yet.'",
    """
    CREATE TABLE stream (
        stream BIGINT GENERATED ALWAYS AS IDENTITY,
        shop TEXT NOT NULL,
        member TEXT NOT NULL,
        channel TEXT NOT NULL,
        endpoint TEXT,
        next_at timestamptz,
        lease UUID,
        PRIMARY KEY (stream),
        CONSTRAINT stream_of UNIQUE NULLS NOT DISTINCT (shop, member, channel, endpoint)
    )
    """,
    "CREATE INDEX stream_due ON stream (channel, shop, next_at) WHERE next_at IS NOT NULL",
    "CREATE INDEX stream_endpoint ON stream (shop, endpoint) WHERE next_at IS NOT NULL AND endpoint IS NOT NULL",
    "COMMENT ON TABLE stream IS 'One member''s deliveries over one channel or to one endpoint, in order.'",
    "COMMENT ON COLUMN stream.next_at IS 'When its first waiting delivery is due; NULL: nothing waits.'",
    "COMMENT ON COLUMN stream.lease IS 'Who delivers from it now; `next_at` is then when that one is given up.'",
    """
    CREATE TABLE template (
        shop TEXT NOT NULL,
        scenario TEXT NOT NULL,
        language TEXT NOT NULL,
        subject TEXT NOT NULL,
        text TEXT NOT NULL,
        html TEXT NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (shop, scenario, language)
    )
    """,
    "COMMENT ON TABLE template IS 'A shop''s own words. Absent: the words that come with the service.'",
    """
    CREATE TABLE delivery (
        delivery UUID NOT NULL,
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        message UUID NOT NULL,
        shop TEXT NOT NULL,
        channel TEXT NOT NULL,
        endpoint TEXT,
        stream BIGINT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        waiting_since timestamptz NOT NULL,
        reason TEXT,
        sent_at timestamptz,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (delivery),
        CONSTRAINT delivery_once UNIQUE NULLS NOT DISTINCT (message, channel, endpoint),
        CONSTRAINT delivery_state CHECK (state IN ('waiting', 'sent', 'dead', 'dropped')),
        FOREIGN KEY(message) REFERENCES message (message) ON DELETE CASCADE,
        FOREIGN KEY(stream) REFERENCES stream (stream)
    )
    """,
    "CREATE INDEX delivery_dead ON delivery (shop, number) WHERE state = 'dead'",
    "CREATE INDEX delivery_number ON delivery (shop, number)",
    "CREATE INDEX delivery_waiting ON delivery (stream, number) WHERE state = 'waiting'",
    "COMMENT ON TABLE delivery IS 'One message over one channel.'",
    "COMMENT ON COLUMN delivery.delivery IS 'Message-ID and webhook-id are made of it: the same for ever.'",
    "COMMENT ON COLUMN delivery.number IS 'Order within the stream.'",
    "COMMENT ON COLUMN delivery.waiting_since IS 'Since it was recorded or replayed.'",
    "COMMENT ON COLUMN delivery.reason IS 'Of the last failure; without personal data.'",
)

FILLED_PERCENT = {"account": 50, "lot": 90, "stream": 80, "delivery": 80}
"""How full inserts make the pages of tables whose rows are updated again and again, so that a new version finds room on
its page and touches no index. An account is, with every entry (at 80 a quarter of the new versions went elsewhere); a
lot seldom is. They are vacuumed early, too."""

GRANTS = {
    "shop": "SELECT, INSERT, UPDATE",
    "setting": "SELECT, INSERT, UPDATE",
    "template": "SELECT, INSERT, UPDATE, DELETE",
    "contact": "SELECT, INSERT, UPDATE, DELETE",
    "preference": "SELECT, INSERT, UPDATE",
    "endpoint": "SELECT, INSERT, UPDATE, DELETE",
    "account": "SELECT, INSERT, UPDATE",
    "look_again": "SELECT, INSERT, UPDATE, DELETE",
    "lot": "SELECT, INSERT, UPDATE, DELETE",
    "message": "SELECT, INSERT, DELETE",
    "stream": "SELECT, INSERT, UPDATE",
    "delivery": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    """Create them."""
    chassis_tables(op)
    apply(op, TABLES, GRANTS)
    for table, percent in FILLED_PERCENT.items():
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent}, autovacuum_vacuum_scale_factor = 0.05)")
