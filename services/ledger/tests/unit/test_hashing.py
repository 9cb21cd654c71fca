"""The chain: test vectors that others can check their own implementation against, and what a changed byte does."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import pack

import pytest

from ledger.domain import GENESIS, Account, AccountKey, Award, Debit, Entry, LotChange, memo_commitment
from ledger.domain.hashing import content_hash, entry_bytes, entry_hash

AT = datetime(2026, 3, 2, 9, 32, 1, 250_000, tzinfo=UTC)
ENTRY = Entry(
    account=Account(key=AccountKey("corner-grocer", "m-2417", "points")),
    seq=5,
    kind="award",
    at=AT,
    recorded_at=AT,
    source="rules",
    key="10042/1/everything-earns/paid",
    order="10042",
    hold=None,
    checkout=None,
    generation=0,
    cause='{"rule":"everything-earns","rule_version":7}',
    memo_commitment=None,
    available=11,
    pending=0,
    held=0,
    debt=0,
    system=(("issued", -11),),
    available_after=131,
    pending_after=0,
    held_after=0,
    debt_after=0,
    earned_after=131,
    spent_after=0,
    lots=(LotChange(5, 11, 11, AT, None, 0),),
    shortfall=0,
    difference=0,
    previous_hash=GENESIS,
    hash=b"",
)


def test_the_layout_of_an_entry_by_hand():
    """Written from the description alone."""
    at = 1_772_443_921_250_000
    texts = [b"corner-grocer", b"m-2417", b"points", b"award", b"rules", b"10042/1/everything-earns/paid", b"10042"]
    texts += [b"", b"", ENTRY.cause.encode()]
    expected = b"".join(pack(">q", n) for n in (5, at, at, 0, 11, 0, 0, 0, 131, 0, 0, 0, 131, 0, 0, 0))
    expected += b"".join(pack(">I", n) for n in (*map(len, texts), 0, 1, 1)) + b"".join(texts)
    expected += pack(">I", 6) + b"issued" + pack(">q", -11)
    expected += b"".join(pack(">q", n) for n in (5, 11, 11, at, -(2**63), 0))
    assert entry_bytes(ENTRY) == expected
    assert entry_hash(ENTRY) == sha256(b"accrual/entry/1\n" + bytes(32) + expected).digest()


def test_vectors():
    """Stable for ever: histories are verified against them."""
    assert entry_hash(ENTRY).hex() == "97a3bb0a8c380cbd30b4c6835ab9c71bec80a06e1f9df5fbfcee87a2df16f8f8"
    award = Award(
        shop="corner-grocer",
        member="m-2417",
        source="rules",
        key="10042/1/everything-earns/paid",
        order="10042",
        cause=ENTRY.cause,
        amount=11,
        expires_at=AT,
    )
    assert content_hash(award).hex() == "780a945002564010bbbe2042e7495eae7051a2dbd47ba5878f6801a395be399b"
    assert (
        memo_commitment(bytes(16), "sorry for the broken jar").hex()
        == "b71bf226b33af55c85f59a4ca996556a704edcfca99a7bae902057b5b06e960c"
    )


CHANGES = {
    "account": Account(key=AccountKey("corner-grocer", "m-2418", "points")),
    "at": AT + timedelta(microseconds=1),
    "recorded_at": AT + timedelta(microseconds=1),
    "kind": "credit",
    "source": "till",
    "key": "k",
    "order": None,
    "hold": "h",
    "checkout": "c",
    "cause": "{}",
    "memo_commitment": bytes(32),
    "system": (("adjusted", -11),),
    "lots": (),
    "previous_hash": bytes(31) + b"\1",
}


@pytest.mark.parametrize("name", [field.name for field in fields(Entry) if field.name != "hash"])
def test_every_field_is_covered(name):
    value = CHANGES[name] if name in CHANGES else getattr(ENTRY, name) + 1
    assert entry_hash(replace(ENTRY, **{name: value})) != entry_hash(ENTRY)


@pytest.mark.parametrize("name", LotChange._fields)
def test_every_field_of_a_lot_change_is_covered(name):
    value = AT - timedelta(days=1) if name in ("activates_at", "expires_at") else 99
    changed = replace(ENTRY, lots=(ENTRY.lots[0]._replace(**{name: value}),))
    assert entry_hash(changed) != entry_hash(ENTRY)


def test_text_beyond_ascii_is_measured_in_bytes():
    entry = replace(ENTRY, cause='{"reason":"Gruß"}')
    assert len(entry_bytes(entry)) == len(entry_bytes(ENTRY)) - len(ENTRY.cause) + len('{"reason":"Gruß"}') + 1


def test_where_an_entry_stands_is_not_hashed():
    account = replace(ENTRY.account, seq=77, available=77)
    assert entry_hash(replace(ENTRY, account=account)) == entry_hash(ENTRY)


def test_each_entry_covers_the_one_before(shelf):
    shelf.award(10)
    shelf.debit(5)
    first, second = shelf.entries()
    assert first.previous_hash == GENESIS
    assert second.previous_hash == first.hash == entry_hash(first)
    assert shelf.accounts[first.account.key].hash == second.hash == entry_hash(second)


def test_a_memo_cannot_be_guessed_without_its_salt():
    assert memo_commitment(b"a" * 16, "memo") != memo_commitment(b"b" * 16, "memo")
    assert memo_commitment(b"a", "bmemo") != memo_commitment(b"ab", "memo")


def test_same_story_same_chain(books):
    def story():
        shelf = books()
        shelf.post(*[shelf.ask(Award, amount=number) for number in range(1, 5)], shelf.ask(Debit, amount=7))
        return shelf.accounts[AccountKey("shop", "m", "points")].hash

    assert story() == story()
