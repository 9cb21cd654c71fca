"""What use cases answer about versions: their state in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from rules.store import Activation, Version

State = Literal["draft", "scheduled", "active", "retired"]


@dataclass(frozen=True, slots=True)
class RuleSetView:
    """A version, and where it is in its life."""

    version: int
    state: State
    since: datetime | None
    """From when it decides or is to decide; None for drafts, and for a first version that always did."""
    note: str
    zone: str
    currency: str
    created_at: datetime
    document: dict[str, Any]


def view_of(version: Version, activations: Sequence[Activation], now: datetime) -> RuleSetView:
    """`activations`: all of the shop's, in order."""
    past = [activation for activation in activations if activation.since <= now]
    own = [activation for activation in activations if activation.version == version.version]
    coming = [activation for activation in own if activation.since > now]
    state: State
    if past and past[-1].version == version.version:
        state = "active"
        since = past[-1].since
    elif coming:
        state, since = "scheduled", coming[0].since
    elif own:
        state, since = "retired", own[-1].since
    else:
        state, since = "draft", None
    return RuleSetView(
        version=version.version,
        state=state,
        since=None if since is None or since.year < 2 else since,
        note=version.note,
        zone=version.zone,
        currency=version.currency,
        created_at=version.created_at,
        document=version.document,
    )
