"""How much a member may give in a day."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Adding columns with constants rewrites no row; new rows say what they are.
    op.execute(
        "ALTER TABLE programme ADD COLUMN gifts_per_day integer NOT NULL DEFAULT 10,"
        " ADD COLUMN gift_points_per_day bigint NOT NULL DEFAULT 10000"
    )
