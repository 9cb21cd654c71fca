"""Assets beside points: the currency of stored value. Lots that wait for an event, which gives them their dates."""

from alembic import op

from chassis.migrations import app_role

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Unknown in rows of before; the programme is told again whenever the relay of its topic changes hands.
    "ALTER TABLE programme ADD COLUMN currency text",
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
)

GRANTS = {"lot": "UPDATE (activates_at, expires_at)"}


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table, rights in GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO {app_role()}")


def downgrade() -> None:
    raise NotImplementedError("the ledger's history is never dropped by a program")
