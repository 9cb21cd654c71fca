"""Four assets beside each other: what each takes, what stands on the other side, and that none touches another."""

import pytest

from ledger.domain import ASSETS, Capture, GiveBack, Hold, Release, Result, Spend
from ledger.domain.assets import ASSETS_OF, SPENDABLE
from ledger.domain.kinds import ACTS

USES = {
    "hold": lambda books: books.ask(Hold, hold="h", amount=1, expires_at="12-31"),
    "capture": lambda books: books.ask(Capture, hold="h"),
    "release": lambda books: books.ask(Release, hold="h"),
    "spend": lambda books: books.ask(Spend, checkout="c", generation=1, amount=1),
    "give_back": lambda books: books.ask(GiveBack, checkout="c", generation=1, total=1),
}


def test_the_table_names_every_kind_of_posting() -> None:
    assert set(ASSETS_OF) == {kind.kind for kind in ACTS}
    assert set().union(*ASSETS_OF.values()) == set(ASSETS)


@pytest.mark.parametrize("kind", USES)
def test_growth_is_never_held_spent_or_given_back(books, kind):
    growth = books(asset="growth")
    growth.award(100)
    rows = len(growth.entries())
    outcome = growth.one(USES[kind](growth))
    assert (outcome.result, outcome.error.code, outcome.error.facts) == (
        Result.REFUSED,
        "asset_not_spendable",
        {"asset": "growth"},
    )
    assert growth.buckets() == (100, 0, 0, 0)
    assert len(growth.entries()) == rows
    assert not growth.parked, "nothing waits for what can never come"


@pytest.mark.parametrize("asset", sorted(SPENDABLE))
def test_what_can_be_used_is_held_captured_spent_and_given_back(books, asset):
    shelf = books(asset=asset)
    shelf.award(100)
    shelf.hold("h", 30)
    assert shelf.buckets() == (70, 0, 30, 0)
    shelf.capture("h", 20)
    shelf.spend(10, checkout="c")
    shelf.give_back(4, checkout="c")
    assert shelf.buckets() == (74, 0, 0, 0)
    assert shelf.system == {"issued": -100, "redeemed": 26}


def test_what_is_paid_in_stands_at_cash_and_what_is_given_at_issued(books):
    shelf = books(asset="stored_value")
    shelf.top_up(5_000, key="paid")
    shelf.award(500, key="bonus")
    shelf.credit(20)
    shelf.debit(10)
    assert shelf.buckets() == (5_510, 0, 0, 0)
    assert shelf.system == {"cash": -5_000, "issued": -500, "adjusted": -10}
    assert (shelf.account().earned, shelf.kinds) == (5_500, ["top_up", "award", "credit", "debit"])


def test_a_top_up_is_taken_back_by_its_key_as_an_award_is(books):
    shelf = books(asset="stored_value")
    revoke = shelf.revoke("paid", 60)
    assert revoke.result is Result.PARKED
    shelf.top_up(100, key="paid")
    assert shelf.buckets() == (40, 0, 0, 0)
    assert shelf.revoke("paid", 60).result is Result.UNCHANGED
    assert shelf.revoke("paid", 101).error.code == "total_exceeds_award"
    assert shelf.system == {"cash": -100, "revoked": 60}


def test_a_top_up_with_an_end_expires(books):
    shelf = books(asset="stored_value")
    shelf.top_up(100, expires_at="03-01")
    shelf.at("03-01")
    assert shelf.buckets() == (0, 0, 0, 0)
    shelf.job()
    assert shelf.system == {"cash": -100, "expired": 100}


@pytest.mark.parametrize("asset", ["points", "growth", "passes"])
def test_money_is_paid_in_for_stored_value_only(books, asset):
    shelf = books(asset=asset)
    outcome = shelf.top_up(100)
    codes = {"points": "asset_not_topped_up", "growth": "asset_not_spendable", "passes": "asset_not_topped_up"}
    assert (outcome.result, outcome.error.code) == (Result.REFUSED, codes[asset])
    assert shelf.buckets() == (0, 0, 0, 0)


@pytest.mark.parametrize(("of_shop", "asked"), [("EUR", "USD"), ("", "EUR")])
def test_money_of_another_currency_than_the_shops_is_refused(books, of_shop, asked):
    shelf = books(asset="stored_value")
    shelf.policy.currency = of_shop
    outcome = shelf.top_up(100, currency=asked)
    assert (outcome.error.code, outcome.error.facts) == (
        "currency_mismatch",
        {"currency": asked, "of_shop": of_shop},
    )
    assert shelf.buckets() == (0, 0, 0, 0)


def test_assets_stand_beside_each_other_in_one_batch_and_none_touches_another(books):
    shelf = books("debt")
    asked = [shelf.ask(Spend, checkout=f"c-{asset}", generation=1, amount=7, asset=asset) for asset in SPENDABLE]
    shelf.post(*asked)
    shelf.award(10, asset="growth")
    for asset in SPENDABLE:
        shelf.asset = asset
        assert shelf.buckets() == (0, 0, 0, -7)
    shelf.award(10, asset="passes")
    shelf.asset = "passes"
    assert shelf.buckets() == (3, 0, 0, 0)
    shelf.asset = "points"
    assert shelf.buckets() == (0, 0, 0, -7)
    shelf.asset = "growth"
    assert shelf.buckets() == (10, 0, 0, 0)


def test_a_hold_of_one_asset_is_not_captured_as_another(books):
    shelf = books()
    shelf.award(10)
    shelf.hold("h", 10)
    outcome = shelf.capture("h", asset="stored_value")
    assert outcome.error.code == "of_another_member"
    assert shelf.buckets() == (0, 0, 10, 0)


@pytest.mark.parametrize("policy", ["forgive", "debt"])
def test_growth_is_never_owed(books, policy):
    """What ended before its order was returned is forgiven, whatever the shop's policy."""
    growth = books(policy, asset="growth")
    growth.award(100, key="a", order="o", expires_at="03-01")
    growth.at("03-02")
    growth.revoke("a", 100)
    assert growth.buckets() == (0, 0, 0, 0)
    assert growth.system == {"issued": -100, "expired": 100, "revoked": 100, "written_off": -100}
    growth.award(10)
    assert growth.available == 10


def test_growth_counts_when_it_becomes_active(books):
    growth = books(asset="growth")
    growth.award(100, activates_at="03-01", expires_at="05-01")
    assert growth.buckets() == (0, 100, 0, 0)
    growth.at("03-01")
    assert growth.buckets() == (100, 0, 0, 0)
    growth.at("05-01")
    assert growth.buckets() == (0, 0, 0, 0)


def test_points_that_come_back_restore_no_growth(books):
    shelf = books()
    shelf.award(100)
    shelf.award(50, asset="growth")
    shelf.spend(60, order="o")
    shelf.give_back(60)
    assert shelf.available == 100
    assert [entry.kind for entry in shelf.entries(asset="growth")] == ["award"]
