"""What a cart may use: every promise of the settings, exactly."""

from dataclasses import replace
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redemption.domain.errors import NotWholeSteps, PointsNotUsable, TooManyPoints, WorthNothing
from redemption.domain.quote import Balance, Cart, CartLine, Cashback, Quote, Selection, Settings, choose, quote

CENT = Cashback(points_per_unit=Fraction(100))


def shop(cashback: Cashback = CENT, **more: bool) -> Settings:
    return Settings(online=cashback, **more)  # type: ignore[arg-type]


def cart(*values: int, **more: object) -> Cart:
    return Cart(lines=[CartLine(product=f"p{n}", value=value) for n, value in enumerate(values)], **more)  # type: ignore[arg-type]


def codes(offer: Quote) -> list[str]:
    return [reason.code for reason in offer.reasons]


def test_all_that_the_member_has_when_the_order_needs_more() -> None:
    offer = quote(shop(), cart(5000), Balance(1234))
    assert (offer.points, offer.worth, offer.limited_by, offer.reasons) == (1234, 1234, "balance", ())


def test_never_more_than_the_order_still_needs() -> None:
    offer = quote(shop(), cart(500, 250), Balance(10_000))
    assert (offer.points, offer.worth, offer.limited_by) == (750, 750, "order")


def test_other_means_of_payment_lessen_what_the_order_needs() -> None:
    offer = quote(shop(), cart(1000, shipping=300, covered=900), Balance(10_000))
    assert (offer.points, offer.worth, offer.limited_by) == (400, 400, "order")


def test_points_pay_for_shipping_only_where_the_shop_says_so() -> None:
    paid = quote(shop(replace(CENT, shipping=True)), cart(1000, shipping=300), Balance(10_000))
    assert (paid.points, paid.worth, paid.limited_by) == (1300, 1300, "order")
    offer = quote(shop(), cart(1000, shipping=300), Balance(10_000))
    assert (offer.points, offer.worth, offer.limited_by) == (1000, 1000, "eligible_goods")


def test_whole_steps_only() -> None:
    offer = quote(shop(replace(CENT, step=100)), cart(750), Balance(10_000))
    assert (offer.points, offer.worth, offer.step) == (700, 700, 100)


def test_worth_is_rounded_down_and_no_point_is_taken_for_nothing() -> None:
    offer = quote(shop(Cashback(points_per_unit=Fraction(300))), cart(1000), Balance(100))
    assert (offer.points, offer.worth) == (99, 33)


def test_a_fraction_of_a_point_per_unit() -> None:
    two_each = Cashback(points_per_unit=Fraction("0.5"))
    offer = quote(shop(two_each), cart(999), Balance(50))
    assert (offer.points, offer.worth) == (4, 800)
    refused = quote(shop(two_each), cart(199), Balance(50))
    assert codes(refused) == ["below_one_step"]
    assert dict(refused.reasons[0].facts) == {"step": 1, "least": 1, "most": 0, "limited_by": "order"}


def test_minimum_purchase_is_inclusive_and_counts_goods_after_discounts() -> None:
    least_ten = shop(replace(CENT, minimum_purchase=Fraction(10)))
    assert quote(least_ten, cart(1000), Balance(500)).points == 500
    refused = quote(least_ten, cart(999, shipping=500), Balance(500))
    assert (refused.points, codes(refused)) == (0, ["below_minimum_purchase"])
    assert dict(refused.reasons[0].facts) == {"minimum": 1000, "purchase": 999}


def test_minimum_points_owned_is_inclusive() -> None:
    least = shop(replace(CENT, minimum_points_owned=200))
    assert quote(least, cart(5000), Balance(200)).points == 200
    assert codes(quote(least, cart(5000), Balance(199))) == ["below_minimum_points"]


def test_a_frozen_member_can_use_nothing() -> None:
    offer = quote(shop(CENT), cart(5000), Balance(500, frozen=True))
    assert (codes(offer), offer.points) == (["member_frozen"], 0)


def test_maximum_points_per_order() -> None:
    offer = quote(shop(replace(CENT, maximum_points=300)), cart(5000), Balance(1000))
    assert (offer.points, offer.limited_by) == (300, "maximum_points")


def test_maximum_share_is_of_the_goods_after_discounts() -> None:
    offer = quote(shop(replace(CENT, maximum_share=Fraction(1, 3))), cart(1000, shipping=900), Balance(9999))
    assert (offer.points, offer.worth, offer.limited_by) == (333, 333, "maximum_share")


def test_only_eligible_products_can_be_paid_with_points() -> None:
    lines = [
        CartLine(product="tea", value=400, categories=("drinks",)),
        CartLine(product="wine", value=900, categories=("drinks", "alcohol")),
        CartLine(product="bread", value=300),
    ]
    drinks = replace(
        CENT,
        eligible=Selection(categories=frozenset({"drinks"})),
        excluded=Selection(categories=frozenset({"alcohol"})),
    )
    offer = quote(shop(drinks), Cart(lines), Balance(5000))
    assert (offer.points, offer.limited_by) == (400, "eligible_goods")
    assert codes(quote(shop(drinks), Cart(lines[1:]), Balance(5000))) == ["no_eligible_goods"]


@pytest.mark.parametrize("field", ["products", "skus", "brands", "tags", "categories"])
def test_products_are_named_in_five_ways(field: str) -> None:
    line = CartLine(product="w", sku="w", brand="w", tags=("w",), categories=("w",), value=100)
    other = CartLine(product="x", sku="x", brand="x", tags=("x",), categories=("x",), value=100)
    only = shop(replace(CENT, eligible=Selection(**{field: frozenset({"w"})})))
    assert quote(only, Cart([line, other]), Balance(1000)).points == 100


def test_gift_cards_are_not_bought_with_points_unless_the_shop_says_so() -> None:
    card = Cart([CartLine(product="card", value=2500, gift_card=True)])
    assert codes(quote(shop(), card, Balance(5000))) == ["no_eligible_goods"]
    assert quote(shop(replace(CENT, gift_cards=True)), card, Balance(5000)).points == 2500


def test_with_or_without_automatic_discounts_and_codes() -> None:
    strict = shop(replace(CENT, with_automatic_discounts=False, with_discount_codes=False))
    assert quote(strict, cart(1000), Balance(100)).points == 100
    refused = quote(strict, cart(1000, automatic_discount=True, discount_codes=True), Balance(100))
    assert codes(refused) == ["not_with_automatic_discounts", "not_with_discount_codes"]
    assert quote(shop(), cart(1000, automatic_discount=True, discount_codes=True), Balance(100)).points == 100


def test_online_and_pos_have_settings_of_their_own() -> None:
    settings = Settings(online=CENT, pos=Cashback(points_per_unit=Fraction(50)))
    assert quote(settings, cart(1000), Balance(100)).worth == 100
    assert quote(settings, cart(1000, channel="pos"), Balance(100)).worth == 200
    assert codes(quote(Settings(online=CENT), cart(1000, channel="pos"), Balance(100))) == ["channel_not_offered"]


def test_one_click_stop_and_programme_off_refuse_every_use() -> None:
    assert codes(quote(shop(stopped=True), cart(1000), Balance(100))) == ["using_stopped"]
    assert codes(quote(shop(programme_on=False), cart(1000), Balance(100))) == ["programme_off"]


def test_all_reasons_are_given_at_once() -> None:
    offer = quote(shop(replace(CENT, minimum_purchase=Fraction(100))), cart(0), Balance(0))
    assert codes(offer) == ["below_minimum_purchase", "no_points", "nothing_to_pay"]


def test_another_currency_is_converted_exactly() -> None:
    yen = cart(1000, unit=Fraction(1) / Fraction("0.0062"), currency="JPY")
    offer = quote(shop(), yen, Balance(10_000))
    assert offer.worth == 1000
    assert offer.points == 620
    small = quote(shop(), yen, Balance(100))
    assert (small.points, small.worth) == (100, 161)


def test_as_many_as_possible_is_cut_to_the_quote() -> None:
    offer = quote(shop(replace(CENT, step=10)), cart(755), Balance(5000))
    assert choose(offer, None).points == 750
    assert choose(offer, 9999, at_most=True).points == 750
    assert choose(offer, 125, at_most=True).points == 120


def test_more_than_allowed_is_refused_with_the_maximum() -> None:
    offer = quote(shop(), cart(750), Balance(5000))
    with pytest.raises(TooManyPoints) as refusal:
        choose(offer, 751)
    assert (refusal.value.maximum, refusal.value.worth, refusal.value.limited_by) == (750, 750, "order")


def test_a_hold_of_broken_steps_or_of_no_worth_is_refused() -> None:
    offer = quote(shop(Cashback(points_per_unit=Fraction(300), step=2)), cart(750), Balance(5000))
    with pytest.raises(NotWholeSteps):
        choose(offer, 3)
    with pytest.raises(WorthNothing):
        choose(offer, 2)
    assert choose(offer, 4).worth == 1


def test_a_hold_where_none_may_be_used_says_why() -> None:
    with pytest.raises(PointsNotUsable) as refusal:
        choose(quote(shop(stopped=True), cart(750), Balance(5000)), None)
    assert refusal.value.reasons == [{"code": "using_stopped", "facts": {}}]


settings_of = st.builds(
    Cashback,
    points_per_unit=st.fractions(Fraction(1, 20), 500, max_denominator=40),
    step=st.integers(1, 60),
    minimum_purchase=st.fractions(0, 5, max_denominator=100),
    minimum_points_owned=st.integers(0, 100),
    maximum_points=st.none() | st.integers(0, 400),
    maximum_share=st.none() | st.fractions(Fraction(1, 100), 1, max_denominator=100),
    shipping=st.booleans(),
    gift_cards=st.booleans(),
)
lines_of = st.lists(
    st.builds(CartLine, product=st.just("p"), value=st.integers(0, 400), gift_card=st.booleans()), max_size=4
)
carts_of = st.builds(
    Cart,
    lines=lines_of,
    unit=st.sampled_from([Fraction(100), Fraction(1), Fraction(1000), Fraction("13.7")]),
    shipping=st.integers(0, 50),
    covered=st.integers(0, 200),
)


@given(settings_of, carts_of, st.integers(0, 600))
def test_the_quote_is_what_trying_every_number_of_points_finds(
    cashback: Cashback, basket: Cart, available: int
) -> None:
    """A slow, obvious model: every number of points the member has, each held against every promise."""
    offer = quote(shop(cashback), basket, Balance(available))

    goods = sum(line.value for line in basket.lines)
    eligible = sum(line.value for line in basket.lines if cashback.gift_cards or not line.gift_card)
    paid_shipping = basket.shipping if cashback.shipping else 0

    def worth(points: int) -> int:
        return floor(points * basket.unit / cashback.points_per_unit)

    def allowed(points: int) -> bool:
        return (
            points % cashback.step == 0
            and 0 < worth(points) <= basket.needs
            and worth(points) <= eligible + paid_shipping
            and (cashback.maximum_share is None or worth(points) <= (goods + paid_shipping) * cashback.maximum_share)
            and (cashback.maximum_points is None or points <= cashback.maximum_points)
            and basket.goods / basket.unit >= cashback.minimum_purchase
            and available >= cashback.minimum_points_owned
        )

    possible = [points for points in range(1, available + 1) if allowed(points)]
    best = max((worth(points) for points in possible), default=0)
    fewest = min((points for points in possible if worth(points) == best), default=0)
    assert (offer.points, offer.worth) == (fewest, best)
    assert bool(offer.reasons) == (offer.points == 0)


@given(settings_of, carts_of, st.integers(0, 600), st.none() | st.integers(1, 700), st.booleans())
def test_a_hold_never_exceeds_the_quote(
    cashback: Cashback, basket: Cart, available: int, asked: int | None, at_most: bool
) -> None:
    offer = quote(shop(cashback), basket, Balance(available))
    try:
        use = choose(offer, asked, at_most=at_most)
    except (TooManyPoints, PointsNotUsable, NotWholeSteps, WorthNothing):
        pass
    else:
        assert 0 < use.points <= min(offer.points, available)
        assert use.points % cashback.step == 0
        assert 0 < use.worth <= basket.needs
