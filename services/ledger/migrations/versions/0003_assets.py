"""Assets beside points: the currency of stored value."""

from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Unknown in rows of before; the programme is told again whenever the relay of its topic changes hands.
    "ALTER TABLE programme ADD COLUMN currency text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the ledger's history is never dropped by a program")
