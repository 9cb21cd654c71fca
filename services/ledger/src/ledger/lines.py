"""Files of postings: what their columns mean, how a stream of bytes becomes lines, and how a line becomes a posting."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from contracts.event import MemberId, OpaqueId, PostingKey
from contracts.ledger import IMPORTS
from contracts.postings import Asset, Cause
from ledger.asking import cause_text
from ledger.domain import MAX_AMOUNT, Credit, Debit, Posting
from ledger.domain.calendar import end_of, start_of
from ledger.domain.proposals import NOBODY
from ledger.usecases import Asked

MOST_LINES: Final = 1_000_000
"""Of one file."""

MOST_LINE_BYTES: Final = 2_048
"""Of one line: twice all columns at their longest."""

MOST_KEY: Final = 200
"""Characters of a line's own key: with the kind before it, it is still a posting's."""

CHUNK_LINES: Final = 4_000
"""Some 500 for each lane: what is written by COPY, and holds a lane for some 30 ms."""

CHUNK_BYTES: Final = 256 * 1024

_BOM: Final = b"\xef\xbb\xbf"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_SIGNED: Final = re.compile(r"-?[0-9]{1,4}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2500, 1, 1, tzinfo=UTC)
_PRIORITIES: Final = 1_000

OPENING: Final = "opening"
"""The reason of opening balances that name none."""

_CREDITED: Final = ("asset", "key", "activates_at", "activates_on", "expires_at", "expires_on")

COLUMNS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "credit": (("member", "amount", "reason"), _CREDITED),
    "debit": (("member", "amount", "reason"), ("asset", "key")),
    "opening": (
        ("member", "amount"),
        (*_CREDITED, "reason", "order", "priority", "earned_at", "earned_on"),
    ),
}
"""Of each kind: the columns that must be there, and those that may."""


class HeaderInvalid(Exception):
    """The first line does not name the columns of that kind, or the file is none of lines."""

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.facts = facts


class TooManyLines(Exception):
    """More lines than one file may have."""


class LineInvalid(Exception):
    """A line that can never be posted; the others are not concerned."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


# -- from bytes to lines


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file, one after the other."""

    number: int
    first_line: int
    """As an editor counts them: the header is line 1."""
    lines: int
    """Those that are not blank."""
    content: bytes

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Its lines with their numbers, blank ones left out."""
        for number, line in enumerate(self.content.split(b"\n"), start=self.first_line):
            if line and not line.isspace():
                yield number, line


class Incoming:
    """A file as it comes in. It holds one chunk, however long the file or a line of it is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._hash = sha256()
        self._rest = b""
        self._cutting = False
        """Whether the line that has begun is over the limit already: the rest of it is not kept."""
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._next_line = 2
        self.columns: tuple[str, ...] | None = None
        self.bytes = 0
        self.lines = 0
        self.chunks = 0

    @property
    def sha256(self) -> bytes:
        """Of all bytes so far."""
        return self._hash.digest()

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete. Raises `HeaderInvalid`, `TooManyLines`."""
        self._hash.update(data)
        self.bytes += len(data)
        first, *others = data.split(b"\n")
        self._begin(first)
        for piece in others:
            yield from self._line(self._rest)
            self._rest, self._cutting = b"", False
            self._begin(piece)

    def end(self) -> Iterator[Chunk]:
        """What remains once all bytes are there."""
        if self._rest:
            yield from self._line(self._rest)
        if self.columns is None:
            raise HeaderInvalid("the file is empty")
        if self._gathered:
            yield self._chunk()

    def _begin(self, piece: bytes) -> None:
        if not self._cutting:
            self._rest += piece
            if len(self._rest) > MOST_LINE_BYTES:
                self._rest, self._cutting = self._rest[: MOST_LINE_BYTES + 1], True

    def _line(self, line: bytes) -> Iterator[Chunk]:
        if self.columns is None:
            self.columns = columns_of(self.kind, line)
            return
        self._gathered.append(line)
        self._gathered_bytes += len(line) + 1
        if line and not line.isspace():
            self.lines += 1
            if self.lines > MOST_LINES:
                raise TooManyLines
        if len(self._gathered) >= CHUNK_LINES or self._gathered_bytes >= CHUNK_BYTES:
            yield self._chunk()

    def _chunk(self) -> Chunk:
        gathered = self._gathered
        lines = sum(bool(line) and not line.isspace() for line in gathered)
        made = Chunk(self.chunks, self._next_line, lines, b"\n".join(gathered))
        self.chunks += 1
        self._next_line += len(gathered)
        self._gathered, self._gathered_bytes = [], 0
        return made


def columns_of(kind: str, line: bytes) -> tuple[str, ...]:
    """The columns that a header names. Raises `HeaderInvalid`."""
    try:
        found = tuple(fields_of(line.removeprefix(_BOM)))
    except LineInvalid as error:
        raise HeaderInvalid(f"the first line must name the columns: {error.detail}") from error
    required, optional = COLUMNS[kind]
    allowed = {*required, *optional}
    unknown = [name[:64] for name in found if name not in allowed][:20]
    missing = [name for name in required if name not in found]
    repeated = sorted({name for name in found if name in allowed and found.count(name) > 1})
    if unknown or missing or repeated:
        told = {"unknown": unknown, "missing": missing, "repeated": repeated}
        detail = "; ".join(f"{what}: {', '.join(names)}" for what, names in told.items() if names)
        raise HeaderInvalid(f"columns of a file of kind {kind}: {detail}", **told, columns=sorted(allowed))
    return found


# -- from lines to fields


def fields_of(line: bytes) -> list[str]:
    """The fields of a line, without the spaces around them. Raises `LineInvalid`.

    A line is a line: quotes cannot run over its end, so that one that is missing spoils no other line.
    """
    if len(line) > MOST_LINE_BYTES:
        raise LineInvalid("line_too_long", f"more than {MOST_LINE_BYTES} bytes")
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise LineInvalid("not_utf8", "not UTF-8") from error
    if _CONTROL.search(text):
        raise LineInvalid("control_character", "a control character, such as NUL or a tab")
    if '"' not in text:
        return [part.strip() for part in text.split(",")]
    try:
        (fields,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError) as error:
        raise LineInvalid("quotes_malformed", "quotes that do not end, or stand inside a field") from error
    return [part.strip() for part in fields]


# -- from fields to a posting


@dataclass(frozen=True, slots=True)
class File:
    """What all lines of a file share."""

    shop: str
    kind: str
    columns: Sequence[str]
    sha256: str
    operator: str
    zone: ZoneInfo


@dataclass(slots=True)
class LineReader:
    """Makes postings of a file's lines."""

    file: File
    _places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._places = {name: place for place, name in enumerate(self.file.columns)}

    def asked(self, number: int, line: bytes) -> Asked:
        """The posting that a line asks for. Raises `LineInvalid`."""
        fields = fields_of(line)
        if len(fields) != len(self._places):
            raise LineInvalid("fields_mismatched", f"{len(fields)} fields under {len(self._places)} columns")
        return Asked(self._posting(number, {name: fields[place] for name, place in self._places.items()}))

    def _posting(self, number: int, given: Mapping[str, str]) -> Posting:
        file = self.file
        key = given.get("key") or f"{file.sha256}/{number}"
        reason = given.get("reason") or (OPENING if file.kind == "opening" else "")
        shared: dict[str, Any] = {
            "shop": file.shop,
            "member": _checked(_MEMBER, given["member"], "member"),
            "source": IMPORTS,  # whoever sent it: a file that two people send is still one
            "key": f"{file.kind}/{_key(key)}",
            "asset": _asset(given.get("asset") or "points"),
            "cause": _cause(file.operator, reason),
            "amount": _amount(given["amount"]),
            "approval_within": NOBODY,
        }
        if file.kind == "debit":
            return Debit(**shared)
        order = given.get("order")
        return Credit(
            activates_at=self._instant(given, ("activates_at", "activates_on", "earned_at", "earned_on"), start_of),
            expires_at=self._instant(given, ("expires_at", "expires_on"), end_of),
            priority=_priority(given.get("priority") or "0"),
            order=_checked(_OPAQUE, order, "order") if order else None,
            **shared,
        )

    def _instant(
        self, given: Mapping[str, str], names: Sequence[str], of_day: Callable[[date, ZoneInfo], datetime]
    ) -> datetime | None:
        """The one that is given, as an instant or as a day of the shop's zone."""
        named = [name for name in names if given.get(name)]
        if not named:
            return None
        if len(named) > 1:
            raise LineInvalid("dates_contradict", f"only one of {' and '.join(named)} can be given")
        (name,) = named
        return _day(given[name], self.file.zone, of_day) if name.endswith("_on") else _instant(given[name])


_MEMBER: Final[TypeAdapter[str]] = TypeAdapter(MemberId)
_OPAQUE: Final[TypeAdapter[str]] = TypeAdapter(OpaqueId)
_KEY: Final[TypeAdapter[str]] = TypeAdapter(PostingKey)
_ASSET: Final[TypeAdapter[str]] = TypeAdapter(Asset)


def _checked(kind: TypeAdapter[str], value: str, name: str) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        (fault, *_) = error.errors(include_url=False, include_context=False, include_input=False)
        raise LineInvalid(f"{name}_invalid", f"{name}: {fault['msg']}") from error


def _key(value: str) -> str:
    if len(value) > MOST_KEY:
        raise LineInvalid("key_invalid", f"key: more than {MOST_KEY} characters")
    return _checked(_KEY, value, "key")


def _amount(value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise LineInvalid("amount_invalid", "amount: a whole number of points, digits only")
    amount = int(value)
    if not 1 <= amount <= MAX_AMOUNT:
        raise LineInvalid("amount_out_of_range", f"amount: within 1 and {MAX_AMOUNT}")
    return amount


def _priority(value: str) -> int:
    if not _SIGNED.fullmatch(value) or abs(int(value)) > _PRIORITIES:
        raise LineInvalid("priority_invalid", f"priority: a whole number within ±{_PRIORITIES}")
    return int(value)


# Few reasons, assets and dates stand in thousands of lines. What raises is not remembered.


@lru_cache(maxsize=64)
def _asset(value: str) -> str:
    return _checked(_ASSET, value, "asset")


@lru_cache(maxsize=1024)
def _cause(operator: str, reason: str) -> str:
    return cause_text(Cause(operator=operator, reason=_checked(_OPAQUE, reason, "reason")))


@lru_cache(maxsize=4096)
def _instant(value: str) -> datetime:
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise LineInvalid("date_invalid", "an instant needs its offset, such as 2027-01-31T23:00:00Z")
        return _within_calendar(instant.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise LineInvalid("date_invalid", "an instant as ISO 8601 has it, such as 2027-01-31T23:00:00Z") from error


@lru_cache(maxsize=4096)
def _day(value: str, zone: ZoneInfo, of_day: Callable[[date, ZoneInfo], datetime]) -> datetime:
    try:
        if not _DAY.fullmatch(value):
            raise ValueError(value)
        return _within_calendar(of_day(date.fromisoformat(value), zone))
    except (ValueError, OverflowError) as error:
        raise LineInvalid("date_invalid", "a day of the calendar, such as 2027-01-31") from error


def _within_calendar(instant: datetime) -> datetime:
    if not _EARLIEST <= instant < _LATEST:
        raise LineInvalid("date_out_of_range", "a date of the years 1970 to 2499")
    return instant
