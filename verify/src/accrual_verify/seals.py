"""Seals: what was signed, how one follows another, and whether they are those that were published."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct, error
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from accrual_verify.epochs import EpochStart
from accrual_verify.findings import Report, Unreadable
from accrual_verify.layout import (
    EMPTY_ROOT,
    NO_HASH,
    Malformed,
    instant_of,
    micros_of,
    root_by_path,
    shop_content,
    shop_key,
    shop_leaf,
)

SEAL_TAG: Final = b"accrual/seal/1\n"
_BODY: Final = Struct(">16sIIQQQqI32s32s32s32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A range of a lane's positions, sealed."""

    ledger: str
    epoch: int
    lane: int
    number: int
    first: int
    last: int
    at: int
    """Microseconds since 1970."""
    shops: int
    previous: bytes
    root: bytes
    key: bytes
    next_key: bytes
    signature: bytes
    body: bytes
    """The bytes that are hashed and signed, made of all of the above but the signature."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Seal":
        """A seal as it is told; raises `Malformed`."""
        try:
            fields: dict[str, Any] = {
                "ledger": str(UUID(told["ledger"])),
                **{name: _number(told[name]) for name in ("epoch", "lane", "number", "first", "last")},
                "at": micros_of(told["at"]),
                "shops": _number(told["shops"]),
                "previous": _hash(told["previous"]),
                "root": _hash(told["root"]),
                "key": _hash(told["public_key"]),
                "next_key": _hash(told["next_public_key"]) if told.get("next_public_key") else NO_HASH,
            }
            body = SEAL_TAG + _BODY.pack(UUID(fields["ledger"]).bytes, *list(fields.values())[1:])
            return cls(**fields, signature=bytes.fromhex(told["signature"]), body=body)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, error) as fault:
            raise Malformed(f"not a seal: {fault!r}") from fault

    @property
    def hash(self) -> bytes:
        """What the next seal covers."""
        return sha256(self.body).digest()

    @property
    def successor(self) -> bytes:
        """The only key that may sign the next seal."""
        return self.key if self.next_key == NO_HASH else self.next_key

    @property
    def where(self) -> dict[str, int]:
        """How findings name it."""
        return {"lane": self.lane, "seal": self.number, "first": self.first, "last": self.last}

    def signed(self) -> bool:
        """Whether the signature is that of the key that the seal names."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(self.signature, self.body)
        except (InvalidSignature, ValueError):
            return False
        return True


def _number(told: Any) -> int:
    if type(told) is not int:
        raise TypeError(told)
    return told


def _hash(told: str) -> bytes:
    found = bytes.fromhex(told)
    if len(found) != 32:  # SHA-256's and Ed25519's
        raise ValueError(told)
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """What a seal holds of a shop."""

    count: int
    total: int | None
    """Rows so far; None where the shop is absent."""
    root: bytes
    places: bytes


ABSENT: Final = Held(0, None, b"", b"")


def held_of(seal: Seal, shop: str, told: Mapping[str, Any]) -> tuple[Held, bool]:
    """What a seal is said to hold of a shop, and whether the seal proves it; raises `Malformed`."""
    try:
        if "absent" in told:
            return ABSENT, _absent(seal, shop, told["absent"])
        held = Held(_number(told["count"]), _number(told["total"]), _hash(told["root"]), _hash(told["places"]))
        content = shop_content(held.count, told["total"], held.root, held.places)
        return held, _in_range(seal, told, shop_key(shop), content)
    except (KeyError, TypeError, ValueError, AttributeError, error) as fault:
        raise Malformed(f"not what a seal holds of a shop: {fault!r}") from fault


def _in_range(seal: Seal, told: Mapping[str, Any], key: bytes, content: bytes) -> bool:
    path = [_hash(node) for node in told["path"]]
    return root_by_path(shop_leaf(key, content), _number(told["index"]), seal.shops, path) == seal.root


def _absent(seal: Seal, shop: str, neighbours: list[Mapping[str, Any]]) -> bool:
    """Leaves stand in order of their keys: next to each other, or at an end, nothing is between."""
    key = shop_key(shop)
    if seal.shops == 0:
        return not neighbours and seal.root == EMPTY_ROOT
    if not all(_in_range(seal, told, _hash(told["key"]), _hash(told["content"])) for told in neighbours):
        return False
    keys = [_hash(told["key"]) for told in neighbours]
    match [told["index"] for told in neighbours]:
        case [left, right]:
            return bool(right == left + 1 and keys[0] < key < keys[1])
        case [only]:
            return (only == 0 and key < keys[0]) or (only == seal.shops - 1 and keys[0] < key)
    return False


# -- what was published


class Published:
    """Seals as they lie outside the ledger: what its owner cannot change any more."""

    def __init__(self) -> None:
        self.newest: dict[tuple[int, int], Seal] = {}
        """By lane and number, those of the highest epoch."""
        self.by_lane: defaultdict[int, set[int]] = defaultdict(set)
        self.given_up: defaultdict[int, list[Seal]] = defaultdict(list)
        """By lane, those of whose number there is one of a higher epoch."""
        self.forks: list[Seal] = []
        """Seals of which there is another one of the same lane, epoch and number."""

    @classmethod
    def read(cls, files: Iterable[Path]) -> "Published":
        """All lines of files, and of all `.jsonl` files of folders; what is no JSON was cut off by a crash."""
        published = cls()
        for file in files:
            inside = sorted(file.glob("*.jsonl")) if file.is_dir() else [file]
            for each in inside:
                for told in _lines(each):
                    published.add(told)
        return published

    def add(self, told: Mapping[str, Any]) -> None:
        """One seal; a repeat changes nothing."""
        try:
            seal = Seal.of(told)
        except Malformed as error:
            raise Unreadable(f"a published seal cannot be read: {error}") from error
        place = (seal.lane, seal.number)
        known = self.newest.get(place)
        if known is not None and known.epoch == seal.epoch and known.body != seal.body:
            self.forks.append(seal)
        if known is None or known.epoch < seal.epoch:
            self.newest[place] = seal
            self.by_lane[seal.lane].add(seal.number)
        if known is not None and known.epoch != seal.epoch:
            older = min(known, seal, key=lambda one: one.epoch)
            if older not in self.given_up[seal.lane]:
                self.given_up[seal.lane].append(older)


def _lines(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Unreadable(str(error)) from error
    for line in content.split(b"\n"):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            yield told


def public_key(given: str) -> bytes:
    """A public key: 64 hex digits, or a file with them or with PEM."""
    try:
        if len(given) == 64:  # 32 bytes in hex
            return _hash(given)
        content = Path(given).read_bytes()
        if b"BEGIN" not in content:
            return _hash(content.decode().strip())
        key = load_pem_public_key(content)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise Unreadable(f"{given}: not a public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Unreadable(f"{given}: not an Ed25519 key")
    return key.public_bytes_raw()


# -- one after the other


class Chain:
    """A lane's seals, as they come: no gap, each over the one before it, each by the key that was to follow.

    A signature covers, by the chain of hashes, all seals before it. So where the chain is whole and the key the same,
    only the last one is checked.
    """

    def __init__(
        self,
        lane: int,
        report: Report,
        *,
        published: Published | None = None,
        trusted: Collection[bytes] = (),
        starts: Collection[EpochStart] = (),
    ) -> None:
        self._lane = lane
        self._starts = [start for start in starts if start.lane == lane]
        self._report = report
        self._published = published
        self._trusted = trusted
        self._last: Seal | None = None
        self._keys: list[bytes] = []
        """Keys of seals whose signatures were good, in order."""
        self.given_up: list[Seal] = []
        """Published seals that a restore gave up: the lane went on in a later epoch from a seal before them."""
        self.epochs: list[tuple[int, Seal]] = []
        """Seals at which the epoch rises, with the epoch before."""

    @property
    def last(self) -> Seal | None:
        """The last seal so far."""
        return self._last

    def add(self, seal: Seal) -> None:
        """The next seal."""
        last = self._last
        if last is None:
            follows = seal.number == 1 and seal.first == 1 and seal.previous == NO_HASH
            if not follows:
                self._report.add("seal_missing", "the lane's first seals are missing", **seal.where)
        else:
            follows = self._follow(last, seal)
            if not (follows and last.key == seal.key):
                self._check_signature(last)
        if seal.last < seal.first - 1:
            self._report.add("seal_range", "the range ends before it begins", **seal.where)
        if last is not None and seal.epoch > last.epoch:
            self.epochs.append((last.epoch, seal))
        self._compare(seal)
        self._last = seal

    def end(self, at: int | None = None) -> None:
        """There are no more; `at`: as of when, in microseconds, the published ones must all be here."""
        if self._last is not None:
            self._check_signature(self._last)
            if self._trusted and not set(self._trusted) & set(self._keys):
                keys = ", ".join(key.hex() for key in dict.fromkeys(self._keys)) or "none"
                self._report.add("key_unknown", f"no seal is signed by a given key; keys: {keys}", lane=self._lane)
        if self._published is not None:
            self._compare_end(self._published, at)

    def _follow(self, last: Seal, seal: Seal) -> bool:
        add = self._report.add
        before = self._report.counts.total()
        if seal.number != last.number + 1:
            add("seal_missing", f"follows seal {last.number}", **seal.where)
        elif seal.previous != last.hash:
            add("seal_chain_broken", f"is not made over seal {last.number}", **seal.where)
        if seal.first != last.last + 1:
            add("seal_range", f"begins elsewhere than after position {last.last}", **seal.where)
        if seal.key != last.successor:
            add("seal_key_changed", "is signed by a key that the seal before did not announce", **seal.where)
        if seal.ledger != last.ledger:
            add("seal_of_another_ledger", f"is one of ledger {seal.ledger}", **seal.where)
        if seal.epoch < last.epoch:
            add("seal_epoch", f"has epoch {seal.epoch} after {last.epoch}", **seal.where)
        return self._report.counts.total() == before

    def _check_signature(self, seal: Seal) -> None:
        if seal.signed():
            self._keys.append(seal.key)
        else:
            self._report.add("seal_signature", "the signature is not that of the key that it names", **seal.where)

    def _compare(self, seal: Seal) -> None:
        told = None if self._published is None else self._published.newest.get((self._lane, seal.number))
        if told is None or told.body == seal.body:
            return
        if self._was_given_up(told):
            self.given_up.append(told)
        else:
            self._report.add("seal_differs", "is not the one that was published", **seal.where)

    def _compare_end(self, published: Published, at: int | None) -> None:
        reached = 0 if self._last is None else self._last.number
        self.given_up += filter(self._was_given_up, published.given_up.get(self._lane, ()))
        lacking = [
            published.newest[self._lane, number]
            for number in sorted(published.by_lane.get(self._lane, ()))
            if number > reached
        ]
        for seal in lacking:
            if self._was_given_up(seal):
                self.given_up.append(seal)
            elif at is None or seal.at <= at:
                what = f"was published at {instant_of(seal.at)} and is missing, with what it holds"
                self._report.add("seal_missing", what, **seal.where)

    def _was_given_up(self, seal: Seal) -> bool:
        """Whether the ledger tells of a restore to a seal before it; the lane may have no newer seal yet."""
        return any(seal.epoch < start.epoch and seal.number > start.seal for start in self._starts)
