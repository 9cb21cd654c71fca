"""What callers send, as the domain sees it."""

from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from redemption.domain.errors import RateMissing
from redemption.domain.quote import Balance, quote
from redemption.schemas import AskedCart, AskedCheckout, Using, unit


def cart(**more: Any) -> AskedCart:
    line = {"product": "tea", "quantity": 3, "unit_price": 500}
    return AskedCart.model_validate({"currency": "EUR", "lines": [line], **more})


def test_a_line_is_worth_what_is_payable_for_it() -> None:
    lines = [
        {"product": "tea", "quantity": 3, "unit_price": 500, "discount": 100, "tax": 140},
        {"product": "pot", "quantity": 1, "unit_price": 2600, "tax": 260},
    ]
    basket = cart(lines=lines, discount=400, shipping=490, shipping_tax=49).to_domain("EUR")
    assert [line.value for line in basket.lines] == [1400 - 140 + 140, 2600 - 260 + 260]
    assert basket.shipping == 539
    included = cart(lines=lines, discount=400, prices_include_tax=True).to_domain("EUR")
    assert [line.value for line in included.lines] == [1260, 2340]


def test_discounts_are_automatic_unless_codes_or_the_cart_say_otherwise() -> None:
    def kinds(**more: Any) -> tuple[bool, bool]:
        basket = cart(**more).to_domain("EUR")
        return basket.automatic_discount, basket.discount_codes

    assert kinds() == (False, False)
    assert kinds(discount=10) == (True, False)
    assert kinds(discount=10, coupons=["A"]) == (False, True)
    assert kinds(discount=10, coupons=["A"], automatic_discount=4) == (True, True)
    assert kinds(coupons=["A"]) == (False, True)


def test_units_follow_the_decimals_of_currencies_and_the_carts_rate() -> None:
    assert unit("EUR", None, "EUR") == 100
    assert unit("JPY", "0.0062", "EUR") == Fraction(1) / Fraction("0.0062")
    assert unit("KWD", "3", "EUR") == Fraction(1000, 3)
    for rate in (None, "0"):
        with pytest.raises(RateMissing):
            unit("JPY", rate, "EUR")


def test_settings_in_minor_units_of_the_shops_currency() -> None:
    using = Using.model_validate({"online": {"points_per_unit": "2.5", "minimum_purchase": 1500}})
    for currency, minimum in (("EUR", Fraction(15)), ("JPY", Fraction(1500)), ("KWD", Fraction(3, 2))):
        settings = using.to_domain(currency)
        assert settings.online is not None
        assert settings.online.minimum_purchase == minimum


def test_dinars_have_three_decimals() -> None:
    using = Using.model_validate({"online": {"points_per_unit": "100"}})
    basket = cart(currency="KWD", lines=[{"product": "tea", "quantity": 1, "unit_price": 1234}]).to_domain("KWD")
    offer = quote(using.to_domain("KWD"), basket, Balance(1000))
    assert (offer.points, offer.worth) == (123, 1230)


@pytest.mark.parametrize(
    "change",
    [
        {"lines": []},
        {"lines": [{"product": "tea", "quantity": 1, "unit_price": 1.5}]},
        {"lines": [{"product": "tea", "quantity": True, "unit_price": 1}]},
        {"lines": [{"product": "tea", "quantity": 1_000_000, "unit_price": 10**13}]},
        {"discount": -1},
        {"rate": "1e5"},
        {"currency": "euro"},
        {"channel": "phone"},
        {"misspelt": 1},
    ],
)
def test_carts_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cart(**change)


@pytest.mark.parametrize("member", ["ann@example.com", "+34600111222", "600-111-222", "", "x" * 65])
def test_ids_that_look_like_personal_data_are_refused(member: str) -> None:
    with pytest.raises(ValidationError):
        AskedCheckout(member=member, cart=cart())


@pytest.mark.parametrize("part", ["lines", "coupons"])
def test_of_very_many_items_at_fault_the_first_is_told(part: str) -> None:
    with pytest.raises(ValidationError) as refused:
        cart(**{part: [{}] * 10_000})
    assert {fault["loc"][:2] for fault in refused.value.errors() if fault["type"] != "too_short"} == {(part, 0)}
