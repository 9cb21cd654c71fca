"""What redemption keeps: each shop's terms, checkouts, orders paid with points, and what was spent for them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

METADATA: Final = MetaData()

programme = Table(
    "programme",
    METADATA,
    Column("shop", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("is_on", Boolean, nullable=False),
    Column("currency", Text, nullable=False),
    Column("hold_minutes", Integer, nullable=False),
)
"""What redemption has heard of each shop's programme."""

using = Table(
    "using",
    METADATA,
    Column("shop", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("document", JSONB),
    Column("is_stopped", Boolean, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)
"""How each shop lets its members use points. The stop stands apart from the document, so that no apply undoes it."""

checkout = Table(
    "checkout",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("shop", Text, nullable=False),
    Column("checkout", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("member", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("worth", BigInteger, nullable=False),
    Column("settings_revision", BigInteger, nullable=False),
    Column("cart", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("hold", Uuid, nullable=False),
    Column("problem", JSONB),
    Column("order_id", Text),
    Column("is_late", Boolean, nullable=False),
    Column("answer", Text),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("seq", BigInteger, nullable=False, server_default="0"),
)
"""Checkouts, one row per attempt; at most one of an id is alive. `epoch` and `seq` are of the entry of the ledger
that changed its state last."""

claim = Table(
    "claim",
    METADATA,
    Column("shop", Text, primary_key=True),
    Column("checkout", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
)
"""Which paid order a checkout belongs to: the first that named it."""

order_state = Table(
    "order_state",
    METADATA,
    Column("shop", Text, primary_key=True),
    Column("order_id", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary),
    Column("points_per_unit", Text),
)
"""The newest revision of every order; its whole state only where points were ever used for it."""

spend = Table(
    "spend",
    METADATA,
    Column("shop", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("claim", Text, nullable=False),
    Column("member", Text, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("given_back", BigInteger, nullable=False),
    Column("hold", Uuid),
    Column("difference", BigInteger, nullable=False),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("debited", BigInteger),
    Column("shortfall", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
    Column("refusal", JSONB),
)
"""What was asked of the ledger for paid orders (`points`, `given_back`), and what it has answered (`debited`,
`shortfall`, `returned`)."""
