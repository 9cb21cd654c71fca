"""Assets beside points: the currency of stored value. Lots that wait for an event, which gives them their dates.

And proposals: what a person asks for above the shop's threshold waits for a second one.
"""

from alembic import op

from chassis.migrations import apply

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Unknown in rows of before; the programme is told again whenever the relay of its topic changes hands.
    "ALTER TABLE programme ADD COLUMN currency text",
    "ALTER TABLE programme ADD COLUMN approval_above json NOT NULL DEFAULT '{}'",
    "ALTER TABLE lot ADD COLUMN activates_on text",
    # The app role may set dates, but only those of a lot that waits for its event, and so only once. It is a right that
    # a GRANT cannot say; the table's owner has all of them.
    """
    CREATE FUNCTION lot_dates_are_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'the dates of lot % are frozen', OLD.number USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    """
    CREATE TRIGGER lot_dates_are_frozen BEFORE UPDATE OF activates_at, expires_at ON lot FOR EACH ROW
    WHEN (OLD.activates_on IS NULL OR NOT OLD.pending) EXECUTE FUNCTION lot_dates_are_frozen()
    """,
    "ALTER TABLE posting DROP CONSTRAINT posting_result_check",
    """
    ALTER TABLE posting ADD CONSTRAINT posting_result_check
        CHECK (result IN ('posted', 'unchanged', 'parked', 'refused', 'pending_approval'))
    """,
    # Who asked is the posting's source; who decided stands beside it, with both instants. Nothing of it ever goes.
    """
    CREATE TABLE proposal (
        place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        account_id uuid NOT NULL,
        shop text NOT NULL,
        source text NOT NULL,
        key text NOT NULL,
        posting json NOT NULL,
        proposed_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'approved', 'rejected', 'expired')),
        decided_at timestamptz,
        decided_by text,
        reason text,
        CONSTRAINT decided_when_not_open CHECK ((state = 'open') = (decided_at IS NULL)),
        UNIQUE (shop, source, key)
    )
    """,
    "CREATE INDEX proposal_by_shop ON proposal (shop, place)",
    "CREATE INDEX proposal_open ON proposal (expires_at) WHERE state = 'open'",
)

GRANTS = {
    "lot": "UPDATE (activates_at, expires_at)",
    "proposal": "SELECT, INSERT, UPDATE (state, decided_at, decided_by, reason)",
}


def upgrade() -> None:
    apply(op, STATEMENTS, GRANTS)
