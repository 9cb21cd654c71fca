"""Epochs: where each lane went on after a restore, signed, and told on the topic like what is in the log."""

from alembic import op

from chassis.migrations import apply

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    # Written by `restore`, as the owner: the service itself cannot give history up.
    """
    CREATE TABLE epoch_start (
        lane integer NOT NULL,
        epoch integer NOT NULL CHECK (epoch > 1),
        position bigint NOT NULL CHECK (position >= 0),
        told bigint NOT NULL,
        lanes integer NOT NULL,
        at timestamptz NOT NULL,
        seal bigint NOT NULL,
        seal_hash bytea NOT NULL CHECK (length(seal_hash) = 32),
        key bytea NOT NULL CHECK (length(key) = 32),
        signature bytea NOT NULL CHECK (length(signature) = 64),
        PRIMARY KEY (lane, epoch)
    )
    """,
    # The relay sends them before the rows of their epoch, from lanes of their own, in which an epoch is its position.
    """
    INSERT INTO relay_cursor (lane, position, settled)
    SELECT 2000000 + lane, epoch, epoch FROM epoch
    CROSS JOIN lane_count CROSS JOIN LATERAL generate_series(0, lanes - 1) AS lane
    """,
)


def upgrade() -> None:
    apply(op, TABLES, {"epoch_start": "SELECT"})
