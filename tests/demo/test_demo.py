"""The demo's own parts: its shop's file means the same to rules and to the model, and runs are told apart."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

import workload
from contracts.orders import OrderPlaced
from demo.marker import Marker
from demo.running import SHOP, shop_file
from demo.screen import Screen
from demo.visiting import LARGEST, SMALLEST, VISITORS, as_model, cart_of, visitors
from rules import file
from rules.domain.evaluation import evaluate
from rules.domain.order import Facts
from rules.domain.settlement import settle
from rules.testing import state_of
from workload import Kind, Plan, Year, model
from workload.lives import Teller


@pytest.fixture(scope="module")
def year() -> Year:
    return workload.load()


def test_the_shops_file_is_one_that_rules_apply() -> None:
    read = file.read(shop_file().read_text())
    assert read.shop == SHOP
    assert len(read.rules.rules) == 20
    assert read.using is not None
    assert set(read.using) == {"online", "pos"}


def test_the_model_and_the_rules_service_agree_on_real_orders(year: Year) -> None:
    """They share no code; 600 orders with all that happens to orders leave the same points by the same rules."""
    read = file.read(shop_file().read_text())
    rule_set = read.rules.compiled(1, read.programme.zone)
    shop = model.Shop.read(shop_file())
    fired = set()
    for life in workload.lives(year.take(600), Plan(shop=SHOP, ends_at=datetime(2026, 11, 22, tzinfo=UTC))):
        state = state_of(life.newest)
        evaluation = evaluate(rule_set, life.newest, state.amounts, Facts(life.first))
        booked = settle((), state, evaluation, rule_set, awarding=True).booked
        left = {award.rule: award.left for award in booked if award.left}
        assert shop.kept(life.newest, first_order=life.first) == left, life.order
        fired |= set(left)
    earning = {rule_id for rule_id, rule in shop.rules.items() if "earn" in rule and rule_id != "tobacco"}
    assert fired == earning


def test_visitors_are_the_same_every_time(year: Year) -> None:
    one, other = visitors(year.take(2_000)), visitors(year.take(2_000))
    assert [visit.checkout_id for visit in one] == [visit.checkout_id for visit in other]
    assert len({visit.member for visit in one}) == len(one) <= VISITORS
    for visit in one:
        columns = (visit.basket.quantities, visit.basket.unit_prices, visit.basket.discounts)
        assert SMALLEST <= sum(count * price - off for count, price, off in zip(*columns, strict=True)) <= LARGEST


def test_a_visitors_cart_is_the_basket(year: Year) -> None:
    visit = visitors(year.take(2_000))[0]
    teller = Teller(Plan(shop=SHOP, ends_at=datetime(2026, 11, 22, tzinfo=UTC)), year.products)
    sold = as_model(teller.tell(visit.basket, kind=Kind.COMPLETED, member=visit.member))
    lines = cart_of(sold)["lines"]
    assert [line["quantity"] for line in lines] == list(visit.basket.quantities)
    assert [line["unit_price"] for line in lines] == list(visit.basket.unit_prices)
    assert [line["discount"] for line in lines] == list(visit.basket.discounts)
    assert OrderPlaced(**{**sold.__dict__, "paid_at": None}).lines == sold.lines


def test_a_marker_is_kept_whole_and_says_what_was_replayed(tmp_path: Path) -> None:
    kept = tmp_path / "replayed.json"
    new = Marker.read(kept)
    assert (new.baskets, new.orders, new.seconds) == (0, 0, 0.0)
    done = new.after(baskets=20_134, orders=20_134, events=52_000, seconds=12.345)
    done.keep(kept)
    assert Marker.read(kept) == done
    assert done.year_ends_at == new.year_ends_at


def test_without_a_terminal_there_are_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.title("A part")
    screen.progress(1, 2, "half")
    screen.end_progress("done")
    screen.facts([("one", screen.good("1")), ("another", screen.bad("2"))])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\r" not in said
    assert "━━ A part" in said
    assert "   50%  half" in said
    assert "   another  ✗ 2" in said
