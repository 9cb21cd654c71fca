"""Between rows and the domain's records, both ways."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Dialect, Table
from sqlalchemy.dialects.postgresql import dialect as postgresql

from ledger.domain import (
    REFUSALS,
    Account,
    AccountKey,
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    Entry,
    GiveBack,
    Hold,
    HoldRecord,
    HoldState,
    LedgerError,
    Lot,
    LotChange,
    Outcome,
    Posting,
    PostingId,
    Refusal,
    Release,
    Result,
    Revoke,
    Shortfall,
    Spend,
    SpendId,
    SpendRecord,
    TopUp,
    Use,
)

_DIALECT: Final[Dialect] = postgresql()  # type: ignore[no-untyped-call]  # SQLAlchemy's own class

encode_json: Final = msgspec.json.Encoder().encode
decode_json: Final = msgspec.json.Decoder().decode


def json_text(value: object) -> str:
    """Compact JSON."""
    return encode_json(value).decode()


def insert_from_arrays(table: Table, columns: Sequence[str] | None = None, *, leave: str = "") -> str:
    """`INSERT … SELECT … FROM unnest(arrays)`: one statement for any number of rows, one parameter per column."""
    chosen = [table.columns[name] for name in columns] if columns else list(table.columns)
    names = ", ".join(f'"{column.name}"' for column in chosen)
    arrays = ", ".join(
        f"${place}::{column.type.compile(dialect=_DIALECT)}[]" for place, column in enumerate(chosen, start=1)
    )
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) {leave}".rstrip()  # noqa: S608  # our own names


def update_from_arrays(table: Table, keys: Sequence[str], columns: Sequence[str]) -> str:
    """`UPDATE … FROM unnest(arrays)`: parameters are the keys, then the new values."""
    chosen = [table.columns[name] for name in (*keys, *columns)]
    arrays = ", ".join(
        f"${place}::{column.type.compile(dialect=_DIALECT)}[]" for place, column in enumerate(chosen, start=1)
    )
    names = ", ".join(f'"{column.name}"' for column in chosen)
    values = ", ".join(f'"{name}" = new."{name}"' for name in columns)
    match = " AND ".join(f'old."{key}" = new."{key}"' for key in keys)
    return f"UPDATE {table.name} AS old SET {values} FROM unnest({arrays}) AS new ({names}) WHERE {match}"  # noqa: S608  # our own names


def numbered_on(statements: Sequence[str]) -> list[str]:
    """Statements that can stand in one, each with its parameters numbered on from the ones before."""
    parts, used = [], 0
    for statement in statements:
        parts.append(_PARAMETER.sub(lambda match, base=used: f"${int(match[1]) + base}", statement))  # type: ignore[misc]
        used += max(int(number) for number in _PARAMETER.findall(statement))
    return parts


_PARAMETER: Final = re.compile(r"\$(\d+)")

# -- from rows

ACCOUNT_COLUMNS: Final = (
    "a.id, a.shop, a.member, a.asset, a.available, a.pending, a.held, a.debt, a.earned, a.spent, a.seq, a.hash,"
    " a.last_at, a.next_due_at, a.noted"
)


def account_of(row: Any) -> Account:
    """A row of ACCOUNT_COLUMNS."""
    return Account(
        key=AccountKey(row[1], row[2], row[3]),
        id=row[0],
        available=row[4],
        pending=row[5],
        held=row[6],
        debt=row[7],
        earned=row[8],
        spent=row[9],
        seq=row[10],
        hash=row[11],
        last_at=row[12],
        next_due_at=row[13],
        noted=row[14],
    )


LOT_COLUMNS: Final = (
    "l.account_id, l.number, l.amount, l.remaining, l.activates_at, l.expires_at, l.priority, l.pending, l.ended,"
    " l.source,"
    ' l.key, l."order", l.kind, l.taken_back, l.activates_on'
)


def lot_of(row: Any, account: Account) -> Lot:
    """A row of LOT_COLUMNS."""
    return Lot(
        account=account,
        number=row[1],
        amount=row[2],
        remaining=row[3],
        activates_at=row[4],
        expires_at=row[5],
        priority=row[6],
        pending=row[7],
        ended=row[8],
        source=row[9],
        key=row[10],
        order=row[11],
        kind=row[12],
        taken_back=row[13],
        activates_on=row[14],
    )


HOLD_COLUMNS: Final = (
    "h.account_id, h.hold, h.amount, h.placed_at, h.number, h.expires_at, h.state, h.captured, h.released, h.expiring,"
    ' h.source, h.key, h."order"'
)


def hold_of(row: Any, account: Account) -> HoldRecord:
    """A row of HOLD_COLUMNS."""
    return HoldRecord(
        account=account,
        hold=row[1],
        amount=row[2],
        placed_at=row[3],
        number=row[4],
        expires_at=row[5],
        state=HoldState(row[6]),
        captured=row[7],
        released=row[8],
        expiring=row[9],
        source=row[10],
        key=row[11],
        order=row[12],
    )


SPEND_COLUMNS: Final = (
    's.account_id, s.checkout, s.generation, s."order", s.hold, s.amount, s.tender, s.source, s.key, s.uses::text,'
    " s.given_back,"
    " s.ended, s.reversed"
)


def spend_of(row: Any, account: Account) -> SpendRecord:
    """A row of SPEND_COLUMNS."""
    return SpendRecord(
        account=account,
        checkout=row[1],
        generation=row[2],
        order=row[3],
        hold=row[4],
        amount=row[5],
        tender=row[6],
        source=row[7],
        key=row[8],
        uses=[Use(*use) for use in decode_json(row[9])],
        given_back=row[10],
        ended=row[11],
        reversed=row[12],
    )


def uses_text(spend: SpendRecord) -> str:
    """The lots that a spend used, as stored."""
    return json_text([(use.lot, use.amount, use.returned) for use in spend.uses])


SHORTFALL_COLUMNS: Final = (
    'f.account_id, f.source, f.key, f."order", f.cause::text, f.checkout, f.generation, f.lot, f.since, f.since_seq,'
    " f.missed, f.held, f.owed, f.written_off"
)


def shortfall_of(row: Any, account: Account) -> Shortfall:
    """A row of SHORTFALL_COLUMNS."""
    return Shortfall(
        account=account,
        source=row[1],
        key=row[2],
        order=row[3],
        cause=row[4],
        spend=None if row[5] is None else SpendId(account.key.shop, row[5], row[6]),
        lot=row[7],
        since=row[8],
        since_seq=row[9],
        missed=row[10],
        held=row[11],
        owed=row[12],
        written_off=row[13],
    )


OUTCOME_COLUMNS: Final = (
    "p.shop, p.source, p.key, p.kind, p.content_hash, p.result, p.first_seq, p.last_seq, p.code, p.facts::text,"
    " a.member, a.asset"
)


def outcome_of(row: Any) -> Outcome:
    """A row of OUTCOME_COLUMNS."""
    facts = decode_json(row[9]) if row[9] else {}
    error = error_of(row[8], facts) if row[8] else None
    return Outcome(
        id=PostingId(row[0], row[1], row[2]),
        account=AccountKey(row[0], row[10], row[11]),
        kind=row[3],
        content_hash=row[4],
        result=Result(row[5]),
        first_seq=row[6],
        last_seq=row[7],
        error=error,
        facts={} if error else facts,
    )


def error_of(code: str, facts: dict[str, Any]) -> LedgerError:
    """A stored refusal as the error that it was."""
    return REFUSALS[code](**facts)


ENTRY_COLUMNS: Final = (
    'e.seq, e.kind, e.at, e.recorded_at, e.source, e.key, e."order", e.hold, e.checkout, e.generation, e.cause::text,'
    " e.memo_commitment, e.available, e.pending, e.held, e.debt, e.system::text, e.available_after, e.pending_after,"
    " e.held_after, e.debt_after, e.earned_after, e.spent_after, e.lots::text, e.shortfall, e.difference, e.hash"
)


def entry_of(row: Any, account: Account, previous_hash: bytes) -> Entry:
    """A row of ENTRY_COLUMNS. The hash before it is not stored twice: it is the row's before."""
    return Entry(
        account=account,
        seq=row[0],
        kind=row[1],
        at=row[2],
        recorded_at=row[3],
        source=row[4],
        key=row[5],
        order=row[6],
        hold=row[7],
        checkout=row[8],
        generation=row[9],
        cause=row[10],
        memo_commitment=row[11],
        available=row[12],
        pending=row[13],
        held=row[14],
        debt=row[15],
        system=tuple(decode_json(row[16]).items()),
        available_after=row[17],
        pending_after=row[18],
        held_after=row[19],
        debt_after=row[20],
        earned_after=row[21],
        spent_after=row[22],
        lots=tuple(map(_lot_change_of, decode_json(row[23]))),
        shortfall=row[24],
        difference=row[25],
        previous_hash=previous_hash,
        hash=row[26],
    )


def _lot_change_of(change: dict[str, Any]) -> LotChange:
    return LotChange(
        lot=int(change["lot"]),
        change=change["change"],
        remaining=change["remaining"],
        activates_at=datetime.fromisoformat(change["activates_at"]),
        expires_at=None if change["expires_at"] is None else datetime.fromisoformat(change["expires_at"]),
        priority=change["priority"],
    )


# -- postings that wait, as text

KINDS: Final[Mapping[str, type[Posting]]] = {
    kind.kind: kind for kind in (Award, TopUp, Credit, Debit, Revoke, Activate, Hold, Capture, Release, Spend, GiveBack)
}
"""Postings by kind: how a parked one becomes a posting again."""


def posting_of(stored: dict[str, Any]) -> Posting:
    """A parked or proposed posting again."""
    commitment = stored.pop("memo_commitment", None)
    kind = KINDS[stored.pop("kind")]
    for name in _INSTANTS & stored.keys():
        stored[name] = stored[name] and datetime.fromisoformat(stored[name])
    return kind(**stored, memo_commitment=None if commitment is None else bytes.fromhex(commitment))


_INSTANTS: Final = frozenset({"activates_at", "expires_at"})


def posting_text(posting: Posting) -> str:
    """A posting that parks or is proposed, as stored."""
    values = {part.name: getattr(posting, part.name) for part in fields(posting) if part.name != "approval_within"}
    if posting.memo_commitment is not None:
        values["memo_commitment"] = posting.memo_commitment.hex()
    return json_text({"kind": posting.kind, **values})


# -- to rows of the log


def entry_row(entry: Entry, lane: int, position: int, trace: str | None) -> tuple[Any, ...]:
    """An entry at its place, in the order of the table's columns."""
    return (
        entry.account.id,
        entry.seq,
        lane,
        position,
        entry.kind,
        entry.at,
        entry.recorded_at,
        entry.source,
        entry.key,
        entry.order,
        entry.hold,
        entry.checkout,
        entry.generation,
        entry.cause,
        entry.memo_commitment,
        entry.available,
        entry.pending,
        entry.held,
        entry.debt,
        json_text(dict(entry.system)),
        entry.available_after,
        entry.pending_after,
        entry.held_after,
        entry.debt_after,
        entry.earned_after,
        entry.spent_after,
        lots_text(entry.lots),
        entry.shortfall,
        entry.difference,
        entry.hash,
        trace,
    )


def lots_text(changes: Sequence[LotChange]) -> str:
    """What an entry did to lots, as stored and as its event carries it."""
    return json_text(
        [
            {
                "lot": str(change.lot),
                "change": change.change,
                "remaining": change.remaining,
                "activates_at": change.activates_at,
                "expires_at": change.expires_at,
                "priority": change.priority,
            }
            for change in changes
        ]
    )


def refusal_row(refusal: Refusal, lane: int, position: int, trace: str | None) -> tuple[Any, ...]:
    """A refusal at its place, in the order of the table's columns."""
    posting = refusal.posting
    return (
        lane,
        position,
        refusal.account.id,
        posting.kind,
        refusal.at,
        posting.source,
        posting.key,
        posting.order,
        getattr(posting, "hold", None),
        getattr(posting, "checkout", None),
        refusal.error.code,
        json_text(refusal.error.facts),
        trace,
    )
