"""The ledger's tables as SQLAlchemy knows them; the store builds its array statements from their columns."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Date, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def _column(name: str, kind: TypeEngine[Any], *, key: bool = False, null: bool = False) -> Column[Any]:
    return Column(name, kind, primary_key=key, nullable=null)


_INSTANT = TIMESTAMP(timezone=True)
_NUMBER = BigInteger()
_SMALL = Integer()
_TEXT = Text()
_BYTES = LargeBinary()
_FLAG = Boolean()
_JSON = JSON()
_ID = UUID()

account = Table(
    "account",
    metadata,
    _column("id", _ID, key=True),
    _column("shop", _TEXT),
    _column("member", _TEXT),
    _column("asset", _TEXT),
    _column("available", _NUMBER),
    _column("pending", _NUMBER),
    _column("held", _NUMBER),
    _column("debt", _NUMBER),
    _column("earned", _NUMBER),
    _column("spent", _NUMBER),
    _column("seq", _NUMBER),
    _column("hash", _BYTES),
    _column("last_at", _INSTANT, null=True),
    _column("next_due_at", _INSTANT, null=True),
    _column("noted", _FLAG),
    comment="A member's points of one asset.",
)
"""`noted`: table `member` has a row of its member."""

entry = Table(
    "entry",
    metadata,
    _column("account_id", _ID, key=True),
    _column("seq", _NUMBER, key=True),
    _column("lane", _SMALL),
    _column("position", _NUMBER),
    _column("kind", _TEXT),
    _column("at", _INSTANT),
    _column("recorded_at", _INSTANT),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("order", _TEXT, null=True),
    _column("hold", _TEXT, null=True),
    _column("checkout", _TEXT, null=True),
    _column("generation", _SMALL),
    _column("cause", _JSON),
    _column("memo_commitment", _BYTES, null=True),
    _column("available", _NUMBER),
    _column("pending", _NUMBER),
    _column("held", _NUMBER),
    _column("debt", _NUMBER),
    _column("system", _JSON),
    _column("available_after", _NUMBER),
    _column("pending_after", _NUMBER),
    _column("held_after", _NUMBER),
    _column("debt_after", _NUMBER),
    _column("earned_after", _NUMBER),
    _column("spent_after", _NUMBER),
    _column("lots", _JSON),
    _column("shortfall", _NUMBER),
    _column("difference", _NUMBER),
    _column("hash", _BYTES),
    _column("trace", _TEXT, null=True),
    comment="What happened: one row and one event per movement; never changed.",
)
"""`cause`, `system` and `lots` are JSON texts as the event carries them, in the order in which they are hashed; the
type `json` keeps them byte by byte."""

refusal = Table(
    "refusal",
    metadata,
    _column("lane", _SMALL, key=True),
    _column("position", _NUMBER, key=True),
    _column("account_id", _ID),
    _column("kind", _TEXT),
    _column("at", _INSTANT),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("order", _TEXT, null=True),
    _column("hold", _TEXT, null=True),
    _column("checkout", _TEXT, null=True),
    _column("code", _TEXT),
    _column("facts", _JSON),
    _column("trace", _TEXT, null=True),
    comment="What was refused, at its place in the same log.",
)

posting = Table(
    "posting",
    metadata,
    _column("shop", _TEXT, key=True),
    _column("source", _TEXT, key=True),
    _column("key", _TEXT, key=True),
    _column("account_id", _ID),
    _column("kind", _TEXT),
    _column("content_hash", _BYTES),
    _column("result", _TEXT),
    _column("first_seq", _NUMBER),
    _column("last_seq", _NUMBER),
    _column("code", _TEXT, null=True),
    _column("facts", _JSON, null=True),
    comment="What became of each posting, by its key, for ever.",
)

parked = Table(
    "parked",
    metadata,
    _column("place", _NUMBER, key=True),
    _column("account_id", _ID),
    _column("shop", _TEXT),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("content_hash", _BYTES),
    _column("posting", _JSON),
    _column("since", _INSTANT),
    comment="Postings that wait for their award or spend, in order of arrival.",
)

proposal = Table(
    "proposal",
    metadata,
    _column("place", _NUMBER, key=True),
    _column("id", _ID),
    _column("account_id", _ID),
    _column("shop", _TEXT),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("posting", _JSON),
    _column("proposed_at", _INSTANT),
    _column("expires_at", _INSTANT),
    _column("state", _TEXT),
    _column("decided_at", _INSTANT, null=True),
    _column("decided_by", _TEXT, null=True),
    _column("reason", _TEXT, null=True),
    comment="Postings that wait for a second person, and what became of those that did.",
)

lot = Table(
    "lot",
    metadata,
    _column("account_id", _ID, key=True),
    _column("number", _NUMBER, key=True),
    _column("amount", _NUMBER),
    _column("remaining", _NUMBER),
    _column("activates_at", _INSTANT),
    _column("expires_at", _INSTANT, null=True),
    _column("priority", _SMALL),
    _column("pending", _FLAG),
    _column("ended", _FLAG),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("order", _TEXT, null=True),
    _column("kind", _TEXT),
    _column("taken_back", _NUMBER),
    _column("activates_on", _TEXT, null=True),
    comment="Points credited together; also the bookkeeping of the award that opened it.",
)

hold = Table(
    "hold",
    metadata,
    _column("account_id", _ID, key=True),
    _column("hold", _TEXT, key=True),
    _column("shop", _TEXT),
    _column("amount", _NUMBER),
    _column("placed_at", _INSTANT),
    _column("number", _NUMBER),
    _column("expires_at", _INSTANT),
    _column("state", _TEXT),
    _column("captured", _NUMBER),
    _column("released", _NUMBER),
    _column("expiring", _NUMBER),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("order", _TEXT, null=True),
    comment="Points reserved for checkouts.",
)

spend = Table(
    "spend",
    metadata,
    _column("account_id", _ID, key=True),
    _column("checkout", _TEXT, key=True),
    _column("generation", _SMALL, key=True),
    _column("shop", _TEXT),
    _column("order", _TEXT, null=True),
    _column("hold", _TEXT, null=True),
    _column("amount", _NUMBER),
    _column("tender", _NUMBER),
    _column("source", _TEXT),
    _column("key", _TEXT),
    _column("uses", _JSON),
    _column("given_back", _NUMBER),
    _column("ended", _NUMBER),
    _column("reversed", _NUMBER),
    comment="Debits of paid orders, with the lots that they used.",
)

shortfall = Table(
    "shortfall",
    metadata,
    _column("account_id", _ID, key=True),
    _column("source", _TEXT, key=True),
    _column("key", _TEXT, key=True),
    _column("order", _TEXT, null=True),
    _column("cause", _JSON),
    _column("checkout", _TEXT, null=True),
    _column("generation", _SMALL, null=True),
    _column("lot", _NUMBER, null=True),
    _column("since", _INSTANT),
    _column("since_seq", _NUMBER),
    _column("missed", _NUMBER),
    _column("held", _NUMBER),
    _column("owed", _NUMBER),
    _column("written_off", _NUMBER),
    comment="Points that a posting should have taken and could not.",
)

system_sum = Table(
    "system_sum",
    metadata,
    _column("id", _ID, key=True),
    _column("shop", _TEXT),
    _column("asset", _TEXT),
    _column("name", _TEXT),
    _column("amount", _NUMBER),
    comment="The other side of every entry: appended per batch, folded now and then.",
)

memo = Table(
    "memo",
    metadata,
    _column("account_id", _ID, key=True),
    _column("source", _TEXT, key=True),
    _column("key", _TEXT, key=True),
    _column("salt", _BYTES),
    _column("memo", _TEXT),
    comment="Operators' words; erasable.",
)

member = Table(
    "member",
    metadata,
    _column("shop", _TEXT, key=True),
    _column("member", _TEXT, key=True),
    _column("frozen", _FLAG),
    _column("merged_into", _TEXT, null=True),
    comment="Members of whom more is known than points; all others have no row.",
)

merge = Table(
    "merge",
    metadata,
    _column("shop", _TEXT, key=True),
    _column("merge", _TEXT, key=True),
    _column("asset", _TEXT, key=True),
    _column("member", _TEXT),
    _column("into_member", _TEXT),
    _column("account_id", _ID),
    _column("into_account_id", _ID),
    _column("number", _NUMBER),
    _column("points", _NUMBER),
    _column("earned", _NUMBER),
    _column("spent", _NUMBER),
    _column("taken_back", _NUMBER),
    _column("given_back", _NUMBER),
    _column("undone", _FLAG),
    comment="What members' accounts brought when they were merged into others, for its undoing.",
)

moved_lot = Table(
    "moved_lot",
    metadata,
    _column("account_id", _ID, key=True),
    _column("number", _NUMBER, key=True),
    _column("merge", _TEXT),
    _column("from_account_id", _ID),
    _column("from_number", _NUMBER),
    comment="Which lots go on in the place of which others, by merges that stand.",
)

gift_day = Table(
    "gift_day",
    metadata,
    _column("account_id", _ID, key=True),
    _column("day", Date()),
    _column("gifts", _NUMBER),
    _column("points", _NUMBER),
    comment="What each account has given on the newest day on which it gave.",
)

programme = Table(
    "programme",
    metadata,
    _column("shop", _TEXT, key=True),
    _column("revision", _SMALL),
    _column("shortfall", _TEXT),
    _column("zone", _TEXT),
    _column("currency", _TEXT, null=True),
    _column("approval_above", _JSON),
    _column("gifts_per_day", _NUMBER),
    _column("gift_points_per_day", _NUMBER),
    comment="What the ledger needs to know of each shop's programme.",
)

ledger = Table(
    "ledger",
    metadata,
    _column("one", _FLAG, key=True),
    _column("id", _ID),
    comment="Which ledger this is; one row.",
)

seal = Table(
    "seal",
    metadata,
    _column("lane", _SMALL, key=True),
    _column("number", _NUMBER, key=True),
    _column("epoch", _SMALL),
    _column("first_position", _NUMBER),
    _column("last_position", _NUMBER),
    _column("at", _INSTANT),
    _column("shops", _SMALL),
    _column("previous", _BYTES),
    _column("root", _BYTES),
    _column("key", _BYTES),
    _column("next_key", _BYTES),
    _column("signature", _BYTES),
    comment="What was in a range of a lane's positions, signed; each covers the one before it.",
)

seal_shop = Table(
    "seal_shop",
    metadata,
    _column("lane", _SMALL, key=True),
    _column("number", _NUMBER, key=True),
    _column("shop", _TEXT, key=True),
    _column("count", _NUMBER),
    _column("total", _NUMBER),
    _column("root", _BYTES),
    _column("places", _BYTES),
    comment="What each seal holds of each shop.",
)
