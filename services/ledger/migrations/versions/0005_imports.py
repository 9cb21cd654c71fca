"""Imports: files of credits, debits or opening balances, received in chunks and worked off in parts."""

from alembic import op

from chassis.migrations import apply

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    # One row for each file that was sent, for ever: its key and what was in it. Unseen while it is still received.
    """
    CREATE TABLE import (
        id uuid PRIMARY KEY,
        shop text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('credit', 'debit', 'opening')),
        state text NOT NULL CHECK (
            state IN ('receiving', 'checking', 'checked', 'running', 'done', 'cancelled', 'failed')
        ),
        dry_run boolean NOT NULL,
        dry boolean NOT NULL,
        client text NOT NULL,
        key text,
        operator text NOT NULL,
        posts_as text,
        zone text NOT NULL,
        header text NOT NULL,
        sha256 bytea CHECK (length(sha256) = 32),
        bytes bigint NOT NULL,
        lines bigint NOT NULL,
        chunks integer NOT NULL,
        next_chunk integer NOT NULL,
        created_at timestamptz NOT NULL,
        received_at timestamptz,
        started_at timestamptz,
        finished_at timestamptz,
        dropped_at timestamptz,
        CONSTRAINT import_by_key UNIQUE (shop, client, key)
    )
    """,
    "CREATE INDEX import_by_shop ON import (shop, id)",
    "CREATE INDEX import_by_file ON import (shop, sha256, id) WHERE sha256 IS NOT NULL",
    "CREATE INDEX import_open ON import (id) WHERE state IN ('checking', 'running')",
    "CREATE INDEX import_kept ON import (created_at) WHERE dropped_at IS NULL",
    # The file itself, without its header: whole lines, in order. Dropped after a while.
    """
    CREATE TABLE import_chunk (
        import_id uuid NOT NULL,
        number integer NOT NULL,
        first_line bigint NOT NULL,
        lines integer NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (import_id, number)
    )
    """,
    # What was done together, in one transaction with its effects: so that it is done, and counted, once.
    """
    CREATE TABLE import_part (
        import_id uuid NOT NULL,
        dry boolean NOT NULL,
        chunk integer NOT NULL,
        lane integer NOT NULL,
        batch integer NOT NULL,
        posted bigint NOT NULL,
        repeated bigint NOT NULL,
        refused bigint NOT NULL,
        invalid bigint NOT NULL,
        points bigint NOT NULL,
        PRIMARY KEY (import_id, dry, chunk, lane, batch)
    )
    """,
    # Lines that were not posted, and why; what they say stands in the chunk. Dropped with it.
    """
    CREATE TABLE import_error (
        import_id uuid NOT NULL,
        dry boolean NOT NULL,
        line bigint NOT NULL,
        chunk integer NOT NULL,
        code text NOT NULL,
        detail text NOT NULL,
        PRIMARY KEY (import_id, dry, line)
    )
    """,
    # Of a dry run of debits: what its lines so far would have taken.
    """
    CREATE TABLE import_taken (
        import_id uuid NOT NULL,
        member text NOT NULL,
        asset text NOT NULL,
        amount bigint NOT NULL,
        PRIMARY KEY (import_id, member, asset)
    )
    """,
)

GRANTS = {
    "import": "SELECT, INSERT, DELETE, UPDATE (state, dry, key, posts_as, sha256, bytes, lines, chunks, next_chunk,"
    " received_at, started_at, finished_at, dropped_at)",
    "import_chunk": "SELECT, INSERT, DELETE",
    "import_part": "SELECT, INSERT",
    "import_error": "SELECT, INSERT, DELETE",
    "import_taken": "SELECT, INSERT, UPDATE (amount), DELETE",
}
"""What the app role may do: what a file asked for, and what became of it, does not change."""


def upgrade() -> None:
    apply(op, TABLES, GRANTS)
