"""From which amount an operator's posting needs a second person."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE programme ADD COLUMN approval_above jsonb NOT NULL DEFAULT '{}'")
