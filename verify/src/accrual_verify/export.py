"""An export, line by line: every hash, every sum, every seal; it remembers one seal's rows and one lane's accounts."""

import gc
import json
from binascii import unhexlify
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from struct import Struct, error
from typing import Any, Final

from accrual_verify.epochs import EpochStart
from accrual_verify.findings import Report, Unreadable
from accrual_verify.layout import (
    ENTRY_TAG,
    HEAD,
    NO_HASH,
    Malformed,
    entry_of,
    instant_of,
    micros_of,
    places_hash,
    refusal_hash,
    refusal_of,
    root_of,
)
from accrual_verify.records import KINDS, Records
from accrual_verify.seals import Chain, Held, Published, Seal, held_of

FORMAT: Final = "accrual-ledger-export"
VERSION: Final = 1

MOST_LANES: Final = 10_000
"""A ledger has eight; a file must not have us make room for any number."""

State = tuple[Any, ...]
"""Of an account after its last entry: seq, available, pending, held, debt, earned, spent, hash."""

_FIRST: Final[State] = (0, 0, 0, 0, 0, 0, 0, NO_HASH)

_BUCKETS: Final = ("available", "pending", "held", "debt")

_LENGTH_AT: Final = Struct(">I").unpack_from
_AMOUNT_AT: Final = Struct(">q").unpack_from
_HEAD_AT: Final = HEAD.unpack_from
_HEAD_BYTES: Final = HEAD.size
_LOT_BYTES: Final = 48
_NO_END: Final = 2**64
"""Of the positions behind the last seal."""


def verify(lines: Iterable[bytes], *, published: Published | None = None, trusted: Collection[bytes] = ()) -> Report:
    """Follow an export to its end. Raises `Unreadable` for a file that is no export at all."""
    gc.disable()  # millions of small tuples, none of them in a cycle
    try:
        return _Verifier(published, trusted).run(lines)
    finally:
        gc.enable()


class _Lane:
    """What is remembered of a lane while its lines pass."""

    def __init__(self, number: int, chain: Chain) -> None:
        self.number = number
        self.prefix = b",%d," % number
        self.chain = chain
        self.accounts: defaultdict[int, dict[bytes, State]] = defaultdict(dict)
        """By the length of the member's id, then by member and asset."""
        self.position = 0
        """Of the last row."""
        self.total = 0
        """Rows of the shop that seals of the lane hold."""
        self.seal: Seal | None = None
        """Whose rows come now; None behind the last seal."""
        self.held: Held | None = None
        self.hashes: list[bytes] = []
        self.places: list[int] = []


class _Verifier:
    def __init__(self, published: Published | None, trusted: Collection[bytes]) -> None:
        self._report = Report()
        self._published = published
        self._trusted = trusted
        self._header: Mapping[str, Any] = {}
        self._shop = b""
        self._at = 0
        self._lane: _Lane | None = None
        self._lanes: set[int] = set()
        self._counts = dict.fromkeys(("entries", "refusals", "seals", "accounts"), 0)
        self._unsealed = 0
        self._given_up: dict[int, list[Seal]] = {}
        """By lane, published seals that restores gave up."""
        self._records: Records | None = None
        """Of a complete export; None for others."""
        self._told: Mapping[str, Any] | None = None
        """The last line's counts; None before it."""
        self._keys: dict[bytes, None] = {}
        self._starts: list[EpochStart] = []

    def run(self, lines: Iterable[bytes]) -> Report:
        ordered = iter(lines)
        self._begin(next(ordered, b""))
        self._entries(ordered)
        self._end()
        return self._report

    # -- the beginning and the end

    def _begin(self, line: bytes) -> None:
        try:
            header = json.loads(line)
            known = header["format"] == FORMAT
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unreadable("not an export of a ledger") from error
        if not known or header["version"] != VERSION:
            raise Unreadable(f"an export of another kind: {header['format']} {header.get('version')}")
        try:
            self._header = header
            self._shop = header["shop"].encode()
            self._at = micros_of(header["at"])
            self._lanes = set(range(min(header["lanes"], MOST_LANES + 1)))
            if "complete" in header:
                self._records = Records(header["complete"], self._report)
                self._counts["records"] = 0
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unreadable(f"not the first line of an export: {error!r}") from error
        for told in header.get("epochs", ()):
            self._epoch(told)
        if len(self._lanes) > MOST_LANES:
            raise Unreadable(f"more than {MOST_LANES} lanes")
        if self._published is not None:
            for fork in self._published.forks:
                self._report.add("published_fork", "was published twice with different content", **fork.where)

    def _epoch(self, told: Mapping[str, Any]) -> None:
        """A restore that the ledger tells of: who signed it, and what is given up."""
        try:
            start = EpochStart.of(told)
        except Malformed as error:
            raise Unreadable(f"not the start of an epoch: {error}") from error
        where = {"lane": start.lane, "epoch": start.epoch, "position": start.position}
        if not start.signed() or start.ledger != str(self._header["ledger"]):
            self._report.add("epoch_signature", "the start of the epoch is not signed by its key", **where)
        self._starts.append(start)
        if start.told > start.position:
            self._report.notes.append(
                f"lane {start.lane}: epoch {start.epoch} gave up positions {start.position + 1} to {start.told} at"
                f" {instant_of(start.at)}"
            )

    def _end(self) -> None:
        self._leave_lane()
        for lane in sorted(self._lanes):
            self._enter_lane(lane)
            self._leave_lane()
        if self._told is None:
            self._report.add("cut_off", "the file ends before its last line")
        elif self._told != self._counts:
            self._report.add("counts_differ", f"the last line counts {self._told}, the file has {self._counts}")
        for start in self._starts:
            if self._trusted and start.key not in {*self._keys, *self._trusted}:
                what = f"epoch {start.epoch} is signed by {start.key.hex()}, which neither seals nor given keys name"
                self._report.add("key_unknown", what, lane=start.lane)
        facts = {name: self._header[name] for name in ("shop", "ledger", "epoch", "at")}
        self._report.facts.update(facts, **self._counts, unsealed=self._unsealed)
        self._report.facts["keys"] = [key.hex() for key in self._keys]
        self._note()

    def _note(self) -> None:
        notes = self._report.notes
        if self._unsealed:
            notes.append(f"{self._unsealed} of the newest rows are not sealed yet")
        if self._keys and not self._trusted:
            notes.append("nobody vouched for the keys that sign; compare them with the ledger's, or give --key")
        if self._published is None:
            notes.append(
                "seals were not compared with published ones (--seals): rows at the end could be missing with theirs"
            )
        if self._records is not None:
            notes.append(
                "lots, holds and debts add up to the balances; keys and what waits are the ledger's word: no seal holds"
                " them"
            )
        for lane, seals in sorted(self._given_up.items()):
            first, last = min(seal.first for seal in seals), max(seal.last for seal in seals)
            notes.append(
                f"lane {lane}: {len(seals)} published seals, of positions {first} to {last}, were given up by a restore"
                " of the ledger"
            )

    # -- lanes

    def _enter_lane(self, number: int) -> _Lane:
        if self._lane is not None and self._lane.number == number:
            return self._lane
        self._leave_lane()
        if number not in self._lanes:
            self._report.add("lane_out_of_place", "the lane comes twice, or there is none of that number", lane=number)
        self._lanes.discard(number)
        chain = Chain(number, self._report, published=self._published, trusted=self._trusted, starts=self._starts)
        self._lane = _Lane(number, chain)
        return self._lane

    def _leave_lane(self) -> None:
        lane = self._lane
        if lane is None:
            return
        self._close_seal(lane)
        if self._records is not None:
            self._records.end_lane(lane.number)
        lane.chain.end(self._at)
        if lane.chain.given_up:
            self._given_up[lane.number] = lane.chain.given_up
        for before, seal in lane.chain.epochs:
            self._report.notes.append(
                f"lane {lane.number}: epoch {seal.epoch} follows epoch {before} at seal {seal.number}, from position"
                f" {seal.first} on: the ledger was restored from a backup"
            )
        for length, accounts in lane.accounts.items():
            for key in accounts:
                member, asset = key[:length].decode(), key[length:].decode()
                what = "has entries, but no line of its own"
                self._report.add("account_missing", what, member=member, asset=asset, lane=lane.number)
        self._lane = None

    # -- seals

    def _seal(self, told: Mapping[str, Any], of_shop: Mapping[str, Any]) -> None:
        seal = Seal.of(told)
        lane = self._enter_lane(seal.lane)
        self._close_seal(lane)
        lane.chain.add(seal)
        self._keys[seal.key] = None
        self._counts["seals"] += 1
        if str(self._header["ledger"]) != seal.ledger:
            self._report.add("seal_of_another_ledger", f"is one of ledger {seal.ledger}", **seal.where)
        held, proved = held_of(seal, self._shop.decode(), of_shop)
        if not proved:
            self._report.add(
                "seal_proof", "what it is said to hold of the shop does not lead to its root", **seal.where
            )
        if lane.position >= seal.first:
            self._report.add("row_out_of_place", f"a row of position {lane.position} came before it", **seal.where)
        lane.seal, lane.held = seal, held

    def _close_seal(self, lane: _Lane) -> None:
        """All rows of a seal have passed: they must be those that it holds."""
        seal, held = lane.seal, lane.held
        if seal is None or held is None:
            self._unsealed += len(lane.places)
        else:
            count = len(lane.places)
            lane.total += held.count
            if held.total is not None and held.total != lane.total:
                what = f"{held.total} rows so far, of which seals here hold {lane.total}"
                self._report.add("rows_missing", what, **seal.where)
                lane.total = held.total
            if count != held.count:
                what = f"{held.count} rows of the shop were sealed, {count} are here"
                self._report.add("range_differs", what, **seal.where)
            elif count and (root_of(lane.hashes), places_hash(lane.places)) != (held.root, held.places):
                what = "its rows are not those that were sealed, or not at their places"
                self._report.add("range_differs", what, **seal.where)
        lane.seal = lane.held = None
        lane.hashes, lane.places = [], []

    def _place(self, lane: _Lane, position: int, row_hash: bytes) -> None:
        """A row at its place: of the seal whose range it is, or behind all seals."""
        if position <= lane.position:
            what = f"comes after position {lane.position}"
            self._report.add("row_out_of_place", what, lane=lane.number, position=position)
        seal = lane.seal
        if seal is not None and not seal.first <= position <= seal.last:
            if position < seal.first:
                what = "is before the range of the seal that it follows"
                self._report.add("row_out_of_place", what, lane=lane.number, position=position)
            else:
                self._close_seal(lane)
        lane.position = position
        lane.places.append(position)
        lane.hashes.append(row_hash)

    # -- entries, which are nearly all of the file

    def _entries(self, lines: Iterable[bytes]) -> None:
        """The loop over all lines. An entry that holds goes straight through it; whatever else there is leaves it, and
        what the loop keeps of the lane at hand is read anew behind that."""
        shop, shop_bytes = self._shop, len(self._shop)
        after_shop = _HEAD_BYTES + shop_bytes
        begin = sha256(ENTRY_TAG).copy  # a copy is made in half the time of a new one
        prefix, digits, accounts, at, last, places, hashes = self._at_hand()
        count = 0
        for number, line in enumerate(lines, start=2):
            try:
                _, kind, place, told_hash, comma, told, ending = line.split(b'"')
                if kind != b"e" or not place.startswith(prefix) or comma != b"," or ending != b"]\n":
                    raise ValueError
                position = int(place[digits:-1])
                stored = unhexlify(told_hash)
                content = unhexlify(told)
                (
                    seq, _, _, _, available, pending, held, debt, available_after, pending_after, held_after,
                    debt_after, earned, spent, _, _, n_shop, n_member, n_asset, n_kind, n_source, n_key, n_order,
                    n_hold, n_checkout, n_cause, n_memo, n_system, n_lots,
                ) = _HEAD_AT(content)  # fmt: skip
                after_key = after_shop + n_member + n_asset
                key = content[after_shop:after_key]
                end = after_key + n_kind + n_source + n_key + n_order + n_hold + n_checkout + n_cause + n_memo
                total = available + pending + held + debt
                for _ in range(n_system):
                    end += 12 + _LENGTH_AT(content, end)[0]
                    total += _AMOUNT_AT(content, end - 8)[0]
            except (ValueError, error):
                self._put_down(at)
                self._other(number, line)
                prefix, digits, accounts, at, last, places, hashes = self._at_hand()
                continue
            known = accounts[n_member]
            before = known.get(key, _FIRST)
            link = begin()
            link.update(before[7])
            link.update(content)
            if (
                link.digest() == stored
                and seq == before[0] + 1
                and total == 0
                and available_after == before[1] + available
                and pending_after == before[2] + pending
                and held_after == before[3] + held
                and debt_after == before[4] + debt
                and end + n_lots * _LOT_BYTES == len(content)
                and n_shop == shop_bytes
                and content.startswith(shop, _HEAD_BYTES)
                and at < position <= last
            ):
                known[key] = (
                    seq, available_after, pending_after, held_after, debt_after, earned, spent, stored
                )  # fmt: skip
                count += 1
                at = position
                places.append(position)
                hashes.append(stored)
            else:
                self._put_down(at)
                self._doubtful(self._enter_lane(int(place[1 : digits - 1])), position, stored, content, number)
                prefix, digits, accounts, at, last, places, hashes = self._at_hand()
        self._put_down(at)
        self._counts["entries"] += count

    def _at_hand(self) -> tuple[bytes, int, dict[int, dict[bytes, State]], int, int, list[int], list[bytes]]:
        """Of the lane: how its lines begin, its accounts, the last position so far and the seal's, its rows so far."""
        lane = self._lane
        if lane is None:
            return b"none", 0, {}, 0, 0, [], []
        seal = lane.seal
        at = lane.position if seal is None else max(lane.position, seal.first - 1)
        last = _NO_END if seal is None else seal.last
        return lane.prefix, len(lane.prefix), lane.accounts, at, last, lane.places, lane.hashes

    def _put_down(self, at: int) -> None:
        if self._lane is not None and self._lane.places:
            self._lane.position = max(self._lane.position, at)

    def _doubtful(self, lane: _Lane, position: int, stored: bytes, content: bytes, line: int) -> None:
        """An entry that does not hold: what of it, as exactly as can be told."""
        self._counts["entries"] += 1
        self._place(lane, position, stored)
        add = self._report.add
        try:
            entry = entry_of(content)
        except Malformed as error:
            add("entry_unreadable", str(error), line=line, lane=lane.number, position=position)
            return
        where = {
            "member": entry["member"],
            "asset": entry["asset"],
            "seq": entry["seq"],
            "lane": lane.number,
            "position": position,
        }
        accounts = lane.accounts[len(entry["member"].encode())]
        key = f"{entry['member']}{entry['asset']}".encode()
        before = accounts.get(key, _FIRST)
        if entry["shop"].encode() != self._shop:
            add("entry_of_another_shop", f"is one of {entry['shop']}", **where)
        if entry["seq"] > before[0] + 1:
            missing = f"{before[0] + 1}" if entry["seq"] == before[0] + 2 else f"{before[0] + 1} to {entry['seq'] - 1}"
            add("entry_missing", f"follows seq {before[0]}: seq {missing} is missing before it", **where)
        elif entry["seq"] <= before[0]:
            add("entry_out_of_order", f"comes after seq {before[0]}", **where)
        elif sha256(ENTRY_TAG + before[7] + content).digest() != stored:
            add("entry_changed", f"its hash does not follow: it, or seq {before[0]} before it, was changed", **where)
        if entry["available"] + entry["pending"] + entry["held"] + entry["debt"] + sum(entry["system"].values()):
            add("sum_not_zero", "its changes do not sum to zero", **where)
        if entry["seq"] == before[0] + 1:
            for place, bucket in enumerate(_BUCKETS, start=1):
                if entry[f"{bucket}_after"] != before[place] + entry[bucket]:
                    what = f"{bucket} {before[place]} changed by {entry[bucket]} is not {entry[f'{bucket}_after']}"
                    add("balance_wrong", what, **where)
        if entry["seq"] > before[0]:
            accounts[key] = (
                entry["seq"],
                *(entry[f"{bucket}_after"] for bucket in _BUCKETS),
                entry["lifetime_earned"],
                entry["lifetime_spent"],
                stored,
            )

    # -- all other lines

    def _other(self, number: int, line: bytes) -> None:
        if self._told is not None and line.strip():
            self._report.add("line_behind_the_end", "something follows the last line", line=number)
        try:
            match json.loads(line):
                case {"seal": dict(seal), "shop": dict(of_shop)}:
                    self._seal(seal, of_shop)
                case ["e", int(lane), int(position), str(stored), str(content)]:
                    self._doubtful(
                        self._enter_lane(lane), position, bytes.fromhex(stored), bytes.fromhex(content), number
                    )
                case ["r", int(lane), int(position), str(content)]:
                    self._refusal(self._enter_lane(lane), position, bytes.fromhex(content))
                case ["a", int(lane), str(member), str(asset), int(seq), str(stored), *buckets]:
                    self._account(self._enter_lane(lane), member, asset, (seq, *buckets, bytes.fromhex(stored)))
                case [str(kind), str(member), str(asset), *values] if self._records is not None and kind in KINDS:
                    self._counts["records"] += 1
                    self._records.add(kind, member, asset, values)
                case {"end": dict(told)}:
                    self._told = told
                case _:
                    self._report.add("line_unreadable", "no line of an export", line=number)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, Malformed) as error:
            self._report.add("line_unreadable", str(error), line=number)

    def _refusal(self, lane: _Lane, position: int, content: bytes) -> None:
        self._counts["refusals"] += 1
        self._place(lane, position, refusal_hash(content))
        refusal = refusal_of(content)
        if refusal["shop"].encode() != self._shop:
            what = f"is one of {refusal['shop']}"
            self._report.add("refusal_of_another_shop", what, lane=lane.number, position=position)

    def _account(self, lane: _Lane, member: str, asset: str, stored: tuple[Any, ...]) -> None:
        """An account as it is stored must be what its last entry says."""
        self._counts["accounts"] += 1
        self._close_seal(lane)
        key, length = f"{member}{asset}".encode(), len(member.encode())
        found = lane.accounts[length].pop(key, _FIRST)
        if self._records is not None:
            self._records.account(member, asset, stored[1:5])
        where = {"member": member, "asset": asset, "lane": lane.number}
        if found == stored:
            return
        if stored[0] != found[0]:
            what = f"the account is at seq {stored[0]}, its last entry here is {found[0]}"
            self._report.add("entry_missing" if stored[0] > found[0] else "account_behind", what, **where)
        else:
            what = "the account's balances or hash are not those of its last entry"
            self._report.add("account_differs", what, seq=stored[0], **where)
