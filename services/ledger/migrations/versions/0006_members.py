"""Members of whom more is known than points: frozen, or merged into another; and what members give each other."""

from alembic import op

from chassis.migrations import apply

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    # Nearly all members have no row here; an account of one that has says so.
    """
    CREATE TABLE member (
        shop text NOT NULL,
        member text NOT NULL,
        frozen boolean NOT NULL,
        merged_into text CHECK (merged_into <> member),
        PRIMARY KEY (shop, member)
    )
    """,
    "CREATE INDEX member_by_target ON member (shop, merged_into) WHERE merged_into IS NOT NULL",
    # What each account of a member brought when it was merged into another.
    """
    CREATE TABLE merge (
        shop text NOT NULL,
        merge text NOT NULL,
        asset text NOT NULL,
        member text NOT NULL,
        into_member text NOT NULL,
        account_id uuid NOT NULL,
        into_account_id uuid NOT NULL,
        number bigint NOT NULL,
        points bigint NOT NULL CHECK (points >= 0),
        earned bigint NOT NULL,
        spent bigint NOT NULL,
        taken_back bigint NOT NULL,
        given_back bigint NOT NULL,
        undone boolean NOT NULL,
        PRIMARY KEY (shop, merge, asset)
    )
    """,
    # Which lot goes on in another account in the place of which; while the merge stands.
    """
    CREATE TABLE moved_lot (
        account_id uuid NOT NULL,
        number bigint NOT NULL,
        merge text NOT NULL,
        from_account_id uuid NOT NULL,
        from_number bigint NOT NULL,
        PRIMARY KEY (account_id, number),
        CONSTRAINT moved_once UNIQUE (from_account_id, from_number)
    )
    """,
    # Adding a column with a constant rewrites no row.
    "ALTER TABLE account ADD COLUMN noted boolean NOT NULL DEFAULT false",
    # One row for each account that gives: what it has given on the newest day on which it gave.
    """
    CREATE TABLE gift_day (
        account_id uuid PRIMARY KEY,
        day date NOT NULL,
        gifts bigint NOT NULL CHECK (gifts > 0),
        points bigint NOT NULL CHECK (points > 0)
    )
    """,
    """
    ALTER TABLE programme
        ADD COLUMN gifts_per_day bigint NOT NULL DEFAULT 10 CHECK (gifts_per_day >= 0),
        ADD COLUMN gift_points_per_day bigint NOT NULL DEFAULT 10000 CHECK (gift_points_per_day >= 0)
    """,
)

GRANTS = {
    "member": "SELECT, INSERT, UPDATE",
    "gift_day": "SELECT, INSERT, UPDATE",
    "merge": "SELECT, INSERT, UPDATE (undone)",
    "moved_lot": "SELECT, INSERT, DELETE",
    # What a merge moves. A settled posting stays where it was settled; one that waits moves with what it waits for.
    "posting": "UPDATE (account_id)",
    "parked": "UPDATE (account_id)",
    "proposal": "UPDATE (account_id)",
    "memo": "UPDATE (account_id)",
    "lot": "UPDATE (kind)",
    "hold": "UPDATE (account_id, number)",
    "spend": "UPDATE (account_id)",
    "shortfall": "UPDATE (account_id, lot, since_seq)",
}
"""What the app role may do."""


def upgrade() -> None:
    apply(op, TABLES, GRANTS)
