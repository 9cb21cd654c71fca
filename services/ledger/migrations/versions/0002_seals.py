"""Seals: what was in the log, signed lane by lane, so that nobody can cut it off or write it anew unseen."""

from alembic import op

from chassis.migrations import apply

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    # Which ledger this is: its seals say so, and those of another one are never taken for them.
    """
    CREATE TABLE ledger (
        one boolean PRIMARY KEY DEFAULT TRUE CHECK (one),
        id uuid NOT NULL
    )
    """,
    # The chain of each lane. The key is what keeps two sealers from making a fork.
    """
    CREATE TABLE seal (
        lane integer NOT NULL,
        number bigint NOT NULL CHECK (number > 0),
        epoch integer NOT NULL,
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        at timestamptz NOT NULL,
        shops integer NOT NULL,
        previous bytea NOT NULL CHECK (length(previous) = 32),
        root bytea NOT NULL CHECK (length(root) = 32),
        key bytea NOT NULL CHECK (length(key) = 32),
        next_key bytea NOT NULL CHECK (length(next_key) = 32),
        signature bytea NOT NULL CHECK (length(signature) = 64),
        PRIMARY KEY (lane, number)
    )
    """,
    "CREATE UNIQUE INDEX seal_by_epoch ON seal (lane, epoch, number)",
    "CREATE UNIQUE INDEX seal_by_last_position ON seal (lane, last_position, number)",
    # What each seal holds of each shop.
    """
    CREATE TABLE seal_shop (
        lane integer NOT NULL,
        number bigint NOT NULL,
        shop text NOT NULL,
        count bigint NOT NULL CHECK (count > 0),
        total bigint NOT NULL CHECK (total >= count),
        root bytea NOT NULL CHECK (length(root) = 32),
        places bytea NOT NULL CHECK (length(places) = 32),
        PRIMARY KEY (lane, number, shop)
    )
    """,
    "CREATE UNIQUE INDEX seal_shop_by_shop ON seal_shop (shop, lane, number)",
    # The relay sends seals beside the log, as lanes of their own far behind the log's.
    """
    INSERT INTO relay_cursor (lane, position)
    SELECT 1000000 + lane, 0 FROM lane_count CROSS JOIN LATERAL generate_series(0, lanes - 1) AS lane
    """,
)

GRANTS = {"ledger": "SELECT, INSERT", "seal": "SELECT, INSERT", "seal_shop": "SELECT, INSERT"}
"""A seal is never changed, whatever is found out later."""


def upgrade() -> None:
    apply(op, TABLES, GRANTS)
