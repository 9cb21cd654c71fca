"""Tables, as SQLAlchemy sees them. Personal data lives in `contact` and nowhere else."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

Instant = DateTime(timezone=True)

shop = Table(
    "shop",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("on", Boolean, nullable=False),
    Column("zone", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("points_name", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
    comment="Programmes as told by `programmes`; a shop that is not here is not known yet.",
)

setting = Table(
    "setting",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("settings", JSONB, nullable=False),
    Column("updated_at", Instant, nullable=False),
    comment="What a shop has set here: switches, reminders, sender. Absent: the defaults.",
)

template = Table(
    "template",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("scenario", Text, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
    comment="A shop's own words. Absent: the words that come with the service.",
)

contact = Table(
    "contact",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("member", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("language", Text),
    Column("updated_at", Instant, nullable=False),
    comment="The only personal data of this service; deleting the row is erasure.",
)

preference = Table(
    "preference",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("member", Text, primary_key=True),
    Column("email_on", Boolean, nullable=False),
    Column("muted", ARRAY(Text), nullable=False),
    Column("updated_at", Instant, nullable=False),
)

endpoint = Table(
    "endpoint",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True, comment="The shop's own name for it."),
    Column("url", Text, nullable=False),
    Column("scenarios", ARRAY(Text), comment="NULL: all."),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    Column("previous_until", Instant),
    Column("failures", Integer, nullable=False, server_default="0", comment="In a row."),
    Column("failing_since", Instant),
    Column("held_until", Instant, comment="Not called before; what fails for one member fails for the others."),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("account", Text, primary_key=True),
    Column("shop", Text, nullable=False),
    Column("member", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("available", BigInteger, nullable=False),
    comment="The last entry told of each account: what is at or before it has been told.",
)

lot = Table(
    "lot",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("lot", Text, primary_key=True),
    Column("remaining", BigInteger, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("announced", SmallInteger, comment="The shortest lead time announced, in days."),
    Column("look_at", Instant, nullable=False, comment="When to see whether to announce its end, or to forget it."),
    Index("lot_look_at", "look_at"),
    comment="Points that end, for announcing it.",
)

look_again = Table(
    "look_again",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("account", Text, nullable=False, comment="With `lot`: the last one that was looked at."),
    Column("lot", Text, nullable=False),
    comment="Shops whose lots are to be looked at again, and how far that has come.",
)

message = Table(
    "message",
    metadata,
    Column("message", Uuid, primary_key=True),
    Column("shop", Text, nullable=False),
    Column("member", Text, nullable=False),
    Column("scenario", Text, nullable=False),
    Column("key", Text, nullable=False, comment="What it tells of: an entry, or a lot's end and a lead time."),
    Column("at", Instant, nullable=False),
    Column("facts", JSONB, nullable=False),
    Column("traceparent", Text),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("shop", "scenario", "key", name="message_once"),
    Index("message_member", "shop", "member", "message"),
    Index("message_created_at", "created_at"),
    comment="What is told, once for each thing that happened, if there is anyone to tell.",
)

stream = Table(
    "stream",
    metadata,
    Column("stream", BigInteger, Identity(always=True), primary_key=True),
    Column("shop", Text, nullable=False),
    Column("member", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("endpoint", Text),
    Column("next_at", Instant, comment="When its first waiting delivery is due; NULL: nothing waits."),
    Column("lease", Uuid, comment="Who delivers from it now; `next_at` is then when that one is given up."),
    UniqueConstraint("shop", "member", "channel", "endpoint", name="stream_of", postgresql_nulls_not_distinct=True),
    Index("stream_due", "channel", "shop", "next_at", postgresql_where="next_at IS NOT NULL"),
    Index("stream_endpoint", "shop", "endpoint", postgresql_where="next_at IS NOT NULL AND endpoint IS NOT NULL"),
    comment="One member's deliveries over one channel or to one endpoint, in order.",
)

delivery = Table(
    "delivery",
    metadata,
    Column("delivery", Uuid, primary_key=True, comment="Message-ID and webhook-id are made of it: the same for ever."),
    Column("number", BigInteger, Identity(always=True), nullable=False, comment="Order within the stream."),
    Column("message", Uuid, ForeignKey("message.message", ondelete="CASCADE"), nullable=False),
    Column("shop", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("endpoint", Text),
    Column("stream", BigInteger, ForeignKey("stream.stream"), nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("waiting_since", Instant, nullable=False, comment="Since it was recorded or replayed."),
    Column("reason", Text, comment="Of the last failure; without personal data."),
    Column("sent_at", Instant),
    Column("changed_at", Instant, nullable=False),
    UniqueConstraint("message", "channel", "endpoint", name="delivery_once", postgresql_nulls_not_distinct=True),
    CheckConstraint("state IN ('waiting', 'sent', 'dead', 'dropped')", name="delivery_state"),
    Index("delivery_waiting", "stream", "number", postgresql_where="state = 'waiting'"),
    Index("delivery_dead", "shop", "number", postgresql_where="state = 'dead'"),
    Index("delivery_number", "shop", "number"),
    comment="One message over one channel.",
)
