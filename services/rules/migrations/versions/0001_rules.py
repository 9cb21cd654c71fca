"""Programmes, rules and their versions, and the order book."""

from alembic import op

from chassis.migrations import apply, chassis_tables

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE programme (
        shop text PRIMARY KEY,
        revision bigint NOT NULL CHECK (revision >= 1),
        "on" boolean NOT NULL,
        zone text NOT NULL,
        currency text NOT NULL,
        shortfall text NOT NULL,
        points_name text NOT NULL,
        language text NOT NULL,
        hold_minutes integer NOT NULL,
        changed_at timestamptz NOT NULL
    )
    """,
    "COMMENT ON TABLE programme IS 'Each shop''s settings; every change is told to all services as programme-changed.'",
    """
    CREATE TABLE pause (
        shop text NOT NULL REFERENCES programme,
        since timestamptz NOT NULL,
        until timestamptz,
        PRIMARY KEY (shop, since)
    )
    """,
    "COMMENT ON TABLE pause IS 'When the programme was off: orders placed then earn nothing, whenever they arrive.'",
    """
    CREATE TABLE rule (
        shop text NOT NULL REFERENCES programme,
        rule text NOT NULL,
        document jsonb NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (shop, rule)
    )
    """,
    "COMMENT ON TABLE rule IS 'Drafts; nothing is decided by them until they are made into a version.'",
    """
    CREATE TABLE rule_set (
        shop text NOT NULL REFERENCES programme,
        version bigint NOT NULL CHECK (version >= 1),
        document jsonb NOT NULL,
        zone text NOT NULL,
        currency text NOT NULL,
        note text NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (shop, version)
    )
    """,
    "COMMENT ON TABLE rule_set IS 'Versions, never changed: every award names one.'",
    """
    CREATE TABLE activation (
        place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        shop text NOT NULL,
        version bigint NOT NULL,
        since timestamptz NOT NULL,
        activated_at timestamptz NOT NULL,
        client text NOT NULL,
        FOREIGN KEY (shop, version) REFERENCES rule_set
    )
    """,
    "CREATE INDEX activation_by_shop ON activation (shop, since, place)",
    "COMMENT ON TABLE activation IS 'From when a version decides the orders placed; the latest beginning holds.'",
    """
    CREATE TABLE order_book (
        shop text NOT NULL,
        "order" text NOT NULL,
        revision bigint NOT NULL,
        member text,
        placed_at timestamptz NOT NULL,
        stage smallint NOT NULL,
        generation integer NOT NULL,
        reversed boolean NOT NULL,
        test boolean NOT NULL,
        first_order boolean,
        holds_bonus boolean NOT NULL,
        version bigint,
        verdicts text NOT NULL,
        explained text NOT NULL,
        booked text NOT NULL,
        state bytea NOT NULL,
        settled_at timestamptz NOT NULL,
        PRIMARY KEY (shop, "order")
    ) WITH (fillfactor = 70, toast_tuple_target = 8160)
    """,
    # An order of usual size stays in its row: compressing it would cost more than it saves.
    "ALTER TABLE order_book ALTER COLUMN state SET STORAGE EXTERNAL",
    'CREATE INDEX order_book_by_member ON order_book (shop, member, placed_at, "order") WHERE member IS NOT NULL',
    "CREATE INDEX order_book_with_bonus ON order_book (shop, member) WHERE holds_bonus",
    "COMMENT ON TABLE order_book IS 'The newest state of each order, what was decided on it and what is booked.'",
)

GRANTS = {
    "programme": "SELECT, INSERT, UPDATE",
    "pause": "SELECT, INSERT, UPDATE",
    "rule": "SELECT, INSERT, UPDATE, DELETE",
    "rule_set": "SELECT, INSERT",
    "activation": "SELECT, INSERT, DELETE",
    "order_book": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    """Create everything, and let the app role do what the service does."""
    chassis_tables(op)
    apply(op, TABLES, GRANTS)
