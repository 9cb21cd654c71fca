"""From what others ask, by Kafka or HTTP, to the domain's postings."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from contracts.postings import Cause
from ledger import domain
from ledger.domain.hashing import memo_commitment
from ledger.domain.postings import NO_CAUSE
from ledger.schemas import OWN_FIELDS
from ledger.store.saving import Memo
from ledger.usecases import Asked

SALT_BYTES: Final = 16
"""Of an operator's memo: enough that an erased memo cannot be guessed from the commitment to it."""


class InstantOutOfRange(ValueError):
    """An instant whose UTC form is outside the years 1 to 9999."""


def asked_of(
    effect: Any,
    *,
    shop: str,
    member: str,
    source: str,
    key: str,
    order: str | None = None,
    cause: Cause | None = None,
    asset: str = "points",
    trace: str | None = None,
    approval_within: timedelta | None = None,
) -> Asked:
    """The posting that an effect asks for. `approval_within`: a person asks, see `Credit`."""
    memo: str | None = getattr(effect, "memo", None)
    salted = None if memo is None else Memo(secrets.token_bytes(SALT_BYTES), memo)
    posting: domain.Posting = _KINDS[effect.kind](
        effect,
        {
            "shop": shop,
            "member": member,
            "source": source,
            "key": key,
            "asset": asset,
            "order": order,
            "cause": cause_text(cause, activates_on=getattr(effect, "activates_on", None)),
            "memo_commitment": None if salted is None else memo_commitment(salted.salt, salted.text),
        },
    )
    if approval_within is not None and isinstance(posting, domain.Credit | domain.Debit):
        posting.approval_within = approval_within
    return Asked(posting, memo=salted, trace=trace)


def cause_text(cause: Cause | None, *, activates_on: str | None = None) -> str:
    """A cause as canonical JSON: sorted keys, no spaces, nothing absent. It is hashed as it stands.

    What the ledger itself writes into a cause is not taken from who asks.
    """
    if cause is None and activates_on is None:
        return NO_CAUSE
    return _text(_cause_values(cause or Cause()), activates_on)


_ASKED_FIELDS: Final = tuple(name for name in Cause.model_fields if name not in OWN_FIELDS)
_cause_values: Final = attrgetter(*_ASKED_FIELDS)


@lru_cache(maxsize=4096)
def _text(values: tuple[Any, ...], activates_on: str | None) -> str:
    """Few rules and versions cause thousands of postings."""
    told = {**dict(zip(_ASKED_FIELDS, values, strict=True)), "activates_on": activates_on}
    present = {name: value for name, value in told.items() if value is not None and value != ()}
    return msgspec.json.encode(dict(sorted(present.items()))).decode()


def _utc(instant: datetime | None) -> datetime | None:
    if instant is None or instant.tzinfo is UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise InstantOutOfRange(str(instant)) from error


def _instant(instant: datetime) -> datetime:
    utc = _utc(instant)
    assert utc is not None
    return utc


_KINDS: Final[Mapping[str, Callable[[Any, dict[str, Any]], domain.Posting]]] = {
    "award": lambda effect, shared: domain.Award(
        amount=effect.amount,
        activates_at=_utc(effect.activates_at),
        expires_at=_utc(effect.expires_at),
        priority=effect.priority,
        activates_on=effect.activates_on,
        **shared,
    ),
    "top_up": lambda effect, shared: domain.TopUp(
        amount=effect.amount, currency=effect.currency, expires_at=_utc(effect.expires_at), **shared
    ),
    "credit": lambda effect, shared: domain.Credit(
        amount=effect.amount,
        activates_at=_utc(effect.activates_at),
        expires_at=_utc(effect.expires_at),
        activates_on=effect.activates_on,
        **shared,
    ),
    "debit": lambda effect, shared: domain.Debit(amount=effect.amount, **shared),
    "revoke": lambda effect, shared: domain.Revoke(
        award=effect.award, total=effect.total, award_source=effect.award_source, **shared
    ),
    "activate": lambda effect, shared: domain.Activate(
        award=effect.award, expires_at=_utc(effect.expires_at), award_source=effect.award_source, **shared
    ),
    "hold": lambda effect, shared: domain.Hold(
        hold=effect.hold,
        amount=effect.amount,
        at_most=effect.at_most,
        expires_at=_instant(effect.expires_at),
        **shared,
    ),
    "capture": lambda effect, shared: domain.Capture(hold=effect.hold, amount=effect.amount, **shared),
    "release": lambda effect, shared: domain.Release(hold=effect.hold, **shared),
    "spend": lambda effect, shared: domain.Spend(
        checkout=effect.checkout, generation=effect.generation, amount=effect.amount, hold=effect.hold, **shared
    ),
    "give_back": lambda effect, shared: domain.GiveBack(
        checkout=effect.checkout, generation=effect.generation, total=effect.total, **shared
    ),
}
"""One way per kind; a kind that the contract gains must be added here (a test says so)."""
