"""What a topic is, as data: the one truth that services, local set-up, ACLs and documents are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from contracts.event import Event


@dataclass(frozen=True, slots=True)
class Topic:
    """One subject's events, in order per key."""

    name: str
    about: str
    """One sentence for the documents."""
    key: str
    """What the key is made of, in words."""
    events: tuple[type[Event], ...]
    writers: tuple[str, ...]
    """Services, or `publishers` for shop platforms; these and no others may write (an ACL of the broker)."""
    readers: tuple[str, ...]
    partitions: int = 8
    """How far its readers scale; changing it later reorders keys, so it is generous from the start."""
    replication: int = 3
    """Copies in production; a single local broker uses 1."""
    retention: timedelta | None = timedelta(days=30)
    """How long events stay; None for ever. Longer than any outage that readers must survive."""
    compacted: bool = False
    """Only the newest event of each key is kept."""

    types: Mapping[str, type[Event]] = field(init=False, repr=False, compare=False)
    """Event classes by their CloudEvents type."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", {event.type: event for event in self.events})

    def settings(self, copies: int) -> dict[str, str]:
        """Its settings as Kafka names them, where it has so many copies."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": "-1" if self.retention is None else str(int(self.retention.total_seconds() * 1000)),
            "retention.bytes": "-1",
            # How long it stays is counted from when it came: by a time of the publisher's own, that of an order years
            # ago, Kafka would delete it and what lies around it before anyone has read it.
            "message.timestamp.type": "LogAppendTime",
            # What was acknowledged is on two copies, and one may be away.
            "min.insync.replicas": str(max(1, copies - 1)),
        }
