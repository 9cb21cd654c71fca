"""The first schema: programme, using, checkout, claim, order_state, spend, and the chassis' own tables."""

from alembic import op

from chassis.migrations import app_role, chassis_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    # What redemption has heard of each shop's programme.
    """
    CREATE TABLE programme (
        shop text PRIMARY KEY,
        revision bigint NOT NULL,
        is_on boolean NOT NULL,
        currency text NOT NULL,
        hold_minutes integer NOT NULL CHECK (hold_minutes > 0)
    )
    """,
    # How each shop lets its members use points. The stop stands apart from the document: no apply undoes it.
    """
    CREATE TABLE "using" (
        shop text PRIMARY KEY,
        revision bigint NOT NULL,
        document jsonb,
        is_stopped boolean NOT NULL,
        changed_at timestamptz NOT NULL
    )
    """,
    # One row per attempt; at most one of a checkout is alive.
    """
    CREATE TABLE checkout (
        id uuid PRIMARY KEY,
        shop text NOT NULL,
        checkout text NOT NULL,
        client text NOT NULL,
        idempotency_key text NOT NULL,
        content_hash bytea NOT NULL,
        member text NOT NULL,
        channel text NOT NULL,
        currency text NOT NULL,
        points bigint NOT NULL CHECK (points >= 0),
        worth bigint NOT NULL CHECK (worth >= 0),
        settings_revision bigint NOT NULL,
        cart jsonb NOT NULL,
        state text NOT NULL CHECK (
            state IN ('intended', 'refused', 'held', 'releasing', 'released', 'expired', 'captured')
        ),
        hold uuid NOT NULL UNIQUE,
        problem jsonb,
        order_id text,
        is_late boolean NOT NULL DEFAULT false,
        answer text,
        expires_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        epoch bigint NOT NULL DEFAULT 0,
        seq bigint NOT NULL DEFAULT 0
    )
    """,
    # A refusal changes nothing and leaves its key unused.
    "CREATE UNIQUE INDEX checkout_key ON checkout (shop, client, idempotency_key) WHERE state <> 'refused'",
    "CREATE INDEX checkout_newest ON checkout (shop, checkout, created_at DESC, id DESC)",
    # Two holds for one checkout would reserve the same points twice, whoever asks.
    """
    CREATE UNIQUE INDEX checkout_alive ON checkout (shop, checkout)
        WHERE state IN ('intended', 'held', 'releasing', 'captured')
    """,
    "CREATE INDEX checkout_unfinished ON checkout (changed_at) WHERE state IN ('intended', 'releasing')",
    "CREATE INDEX checkout_order ON checkout (shop, order_id) WHERE order_id IS NOT NULL",
    # Which paid order a checkout belongs to: the first that named it.
    """
    CREATE TABLE claim (
        shop text NOT NULL,
        checkout text NOT NULL,
        order_id text NOT NULL,
        PRIMARY KEY (shop, checkout)
    )
    """,
    # The newest revision of every order; its whole state only where points were ever used for it.
    """
    CREATE TABLE order_state (
        shop text NOT NULL,
        order_id text NOT NULL,
        revision bigint NOT NULL,
        body bytea,
        points_per_unit text,
        PRIMARY KEY (shop, order_id)
    )
    """,
    # What was asked of the ledger for paid orders (points, given_back), and what it answered (debited and on).
    """
    CREATE TABLE spend (
        shop text NOT NULL,
        name text NOT NULL,
        generation integer NOT NULL CHECK (generation > 0),
        order_id text NOT NULL,
        place bigint GENERATED ALWAYS AS IDENTITY,
        claim text NOT NULL,
        member text NOT NULL,
        points bigint NOT NULL CHECK (points > 0),
        given_back bigint NOT NULL CHECK (given_back BETWEEN 0 AND points),
        hold uuid,
        difference bigint NOT NULL,
        asked_at timestamptz NOT NULL,
        debited bigint,
        shortfall bigint NOT NULL DEFAULT 0,
        returned bigint NOT NULL DEFAULT 0,
        refusal jsonb,
        PRIMARY KEY (shop, name, generation)
    )
    """,
    "CREATE INDEX spend_order ON spend (shop, order_id, place)",
    "CREATE INDEX spend_claim ON spend (shop, claim) WHERE claim <> ''",
)


def upgrade() -> None:
    chassis_tables(op)
    for statement in STATEMENTS:
        op.execute(statement)
    op.execute(
        f'GRANT SELECT, INSERT, UPDATE ON programme, "using", checkout, claim, order_state, spend TO {app_role()}'
    )
