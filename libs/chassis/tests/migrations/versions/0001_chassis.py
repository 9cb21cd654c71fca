"""The chassis' own tables, and one table for what the tests' use case does."""

from alembic import op

from chassis.migrations import app_role, chassis_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    chassis_tables(op)
    op.execute(
        "CREATE TABLE effect (place bigint GENERATED ALWAYS AS IDENTITY, activity text PRIMARY KEY,"
        " member text NOT NULL)"
    )
    op.execute(f"GRANT SELECT, INSERT ON effect TO {app_role()}")
