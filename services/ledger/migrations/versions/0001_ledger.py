"""The ledger's tables: what is true now (account, lot, hold, …) and what happened (entry, refusal, posting)."""

from alembic import op

from chassis.migrations import apply, chassis_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    # A member's points of one asset. Updated by every entry: room on the page keeps updates in it (no index changes).
    """
    CREATE TABLE account (
        id uuid PRIMARY KEY,
        shop text NOT NULL,
        member text NOT NULL,
        asset text NOT NULL,
        available bigint NOT NULL CHECK (available >= 0),
        pending bigint NOT NULL CHECK (pending >= 0),
        held bigint NOT NULL CHECK (held >= 0),
        debt bigint NOT NULL CHECK (debt <= 0),
        earned bigint NOT NULL,
        spent bigint NOT NULL,
        seq bigint NOT NULL CHECK (seq >= 0),
        hash bytea NOT NULL CHECK (length(hash) = 32),
        last_at timestamptz,
        next_due_at timestamptz,
        CONSTRAINT no_available_beside_debt CHECK (available = 0 OR debt = 0),
        CONSTRAINT account_by_member UNIQUE (shop, member, asset)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX account_by_due ON account (next_due_at) WHERE next_due_at IS NOT NULL",
    # The history: one row and one event per movement. The app role may insert and read, nothing else.
    """
    CREATE TABLE entry (
        account_id uuid NOT NULL,
        seq bigint NOT NULL CHECK (seq > 0),
        lane integer NOT NULL,
        position bigint NOT NULL,
        kind text NOT NULL,
        at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        "order" text,
        hold text,
        checkout text,
        generation integer NOT NULL,
        cause json NOT NULL,
        memo_commitment bytea,
        available bigint NOT NULL,
        pending bigint NOT NULL,
        held bigint NOT NULL,
        debt bigint NOT NULL,
        system json NOT NULL,
        available_after bigint NOT NULL CHECK (available_after >= 0),
        pending_after bigint NOT NULL CHECK (pending_after >= 0),
        held_after bigint NOT NULL CHECK (held_after >= 0),
        debt_after bigint NOT NULL CHECK (debt_after <= 0),
        earned_after bigint NOT NULL,
        spent_after bigint NOT NULL,
        lots json NOT NULL,
        shortfall bigint NOT NULL,
        difference bigint NOT NULL,
        hash bytea NOT NULL CHECK (length(hash) = 32),
        trace text,
        PRIMARY KEY (account_id, seq),
        CONSTRAINT entry_by_place UNIQUE (lane, position)
    )
    """,
    # Refusals have places in the same log.
    """
    CREATE TABLE refusal (
        lane integer NOT NULL,
        position bigint NOT NULL,
        account_id uuid NOT NULL,
        kind text NOT NULL,
        at timestamptz NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        "order" text,
        hold text,
        checkout text,
        code text NOT NULL,
        facts json NOT NULL,
        trace text,
        PRIMARY KEY (lane, position)
    )
    """,
    "CREATE INDEX refusal_by_account ON refusal (account_id, position)",
    # What became of each posting, by its key, for ever.
    """
    CREATE TABLE posting (
        shop text NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        account_id uuid NOT NULL,
        kind text NOT NULL,
        content_hash bytea NOT NULL CHECK (length(content_hash) = 32),
        result text NOT NULL CHECK (result IN ('posted', 'unchanged', 'parked', 'refused')),
        first_seq bigint NOT NULL,
        last_seq bigint NOT NULL,
        code text,
        facts json,
        PRIMARY KEY (shop, source, key)
    )
    """,
    # Postings that wait for their award or spend, in order of arrival.
    """
    CREATE TABLE parked (
        place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account_id uuid NOT NULL,
        shop text NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        content_hash bytea NOT NULL,
        posting json NOT NULL,
        since timestamptz NOT NULL,
        UNIQUE (shop, source, key)
    )
    """,
    "CREATE INDEX parked_by_account ON parked (account_id, place)",
    # Points credited together; also the bookkeeping of the award that opened it. `open` is what its index goes by: an
    # index on `remaining` itself would make every debit rewrite all index entries of the lots that it uses.
    # By their ends, so that a balance's next ones are found without reading all others.
    """
    CREATE TABLE lot (
        account_id uuid NOT NULL,
        number bigint NOT NULL,
        amount bigint NOT NULL CHECK (amount > 0),
        remaining bigint NOT NULL,
        activates_at timestamptz NOT NULL,
        expires_at timestamptz,
        priority integer NOT NULL,
        pending boolean NOT NULL,
        ended boolean NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        "order" text,
        kind text NOT NULL,
        taken_back bigint NOT NULL,
        open boolean GENERATED ALWAYS AS (remaining > 0) STORED,
        CONSTRAINT remaining_of_amount CHECK (remaining BETWEEN 0 AND amount),
        PRIMARY KEY (account_id, number)
    ) WITH (fillfactor = 85)
    """,
    "CREATE INDEX lot_open ON lot (account_id, expires_at) WHERE open",
    # Points reserved for checkouts.
    """
    CREATE TABLE hold (
        account_id uuid NOT NULL,
        hold text NOT NULL,
        shop text NOT NULL,
        amount bigint NOT NULL CHECK (amount > 0),
        placed_at timestamptz NOT NULL,
        number bigint NOT NULL,
        expires_at timestamptz NOT NULL,
        state text NOT NULL CHECK (state IN ('open', 'captured', 'released', 'expired')),
        captured bigint NOT NULL CHECK (captured BETWEEN 0 AND amount),
        released bigint NOT NULL,
        expiring bigint NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        "order" text,
        PRIMARY KEY (account_id, hold),
        CONSTRAINT hold_by_shop UNIQUE (shop, hold)
    )
    """,
    "CREATE INDEX hold_open ON hold (account_id) WHERE state = 'open'",
    # Debits of paid orders, with the lots that they used, so that they can be given back.
    """
    CREATE TABLE spend (
        account_id uuid NOT NULL,
        checkout text NOT NULL,
        generation integer NOT NULL,
        shop text NOT NULL,
        "order" text,
        hold text,
        amount bigint NOT NULL,
        tender bigint NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        uses json NOT NULL,
        given_back bigint NOT NULL,
        ended bigint NOT NULL,
        reversed bigint NOT NULL,
        PRIMARY KEY (account_id, checkout, generation),
        CONSTRAINT spend_by_shop UNIQUE (shop, checkout, generation)
    )
    """,
    'CREATE INDEX spend_by_order ON spend (account_id, "order")',
    # Points that a posting should have taken and could not: still held, owed, or written off.
    """
    CREATE TABLE shortfall (
        account_id uuid NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        "order" text,
        cause json NOT NULL,
        checkout text,
        generation integer,
        lot bigint,
        since timestamptz NOT NULL,
        since_seq bigint NOT NULL,
        missed bigint NOT NULL CHECK (missed >= 0),
        held bigint NOT NULL CHECK (held >= 0),
        owed bigint NOT NULL CHECK (owed >= 0),
        written_off bigint NOT NULL CHECK (written_off >= 0),
        PRIMARY KEY (account_id, source, key)
    )
    """,
    # The other side of every entry: sums appended per batch, never locked; folded now and then.
    """
    CREATE TABLE system_sum (
        id uuid PRIMARY KEY,
        shop text NOT NULL,
        asset text NOT NULL,
        name text NOT NULL,
        amount bigint NOT NULL
    )
    """,
    "CREATE INDEX system_sum_by_name ON system_sum (shop, asset, name)",
    # Operators' words, which can be erased; the history holds only a salted commitment to them.
    """
    CREATE TABLE memo (
        account_id uuid NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        salt bytea NOT NULL,
        memo text NOT NULL,
        PRIMARY KEY (account_id, source, key)
    )
    """,
    # What the ledger needs to know of each shop's programme.
    """
    CREATE TABLE programme (
        shop text PRIMARY KEY,
        revision integer NOT NULL,
        shortfall text NOT NULL CHECK (shortfall IN ('forgive', 'debt')),
        zone text NOT NULL
    )
    """,
    # Grows when the ledger is restored from a backup; readers then read again what they hold beyond it.
    "CREATE TABLE epoch (one boolean PRIMARY KEY DEFAULT TRUE CHECK (one), epoch integer NOT NULL CHECK (epoch > 0))",
    "INSERT INTO epoch (epoch) VALUES (1)",
)

GRANTS = {
    "account": "SELECT, INSERT, UPDATE",
    "entry": "SELECT, INSERT",
    "refusal": "SELECT, INSERT",
    "posting": "SELECT, INSERT, UPDATE (result, first_seq, last_seq, code, facts)",
    "parked": "SELECT, INSERT, DELETE",
    "lot": "SELECT, INSERT, UPDATE (remaining, pending, ended, taken_back)",
    "hold": "SELECT, INSERT, UPDATE (state, captured, released, expiring)",
    "spend": "SELECT, INSERT, UPDATE (amount, uses, given_back, ended, reversed)",
    "shortfall": "SELECT, INSERT, UPDATE (missed, held, owed, written_off)",
    "system_sum": "SELECT, INSERT, DELETE",
    "memo": "SELECT, INSERT, DELETE",
    "programme": "SELECT, INSERT, UPDATE",
    "epoch": "SELECT",
}
"""What the app role may do. What happened can be added to, never changed."""


def upgrade() -> None:
    chassis_tables(op)
    apply(op, TABLES, GRANTS)
