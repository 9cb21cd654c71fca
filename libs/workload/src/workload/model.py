"""What an order must have earned under a shop's file: a slow, obvious model that shares no code with the services.

It reads the rules of the YAML file that `python -m rules apply` takes and the newest state of an order, and says what
each rule gave and how much of that is left with the member. Everything is a `Fraction` until it is rounded, once per
award. Every figure is worked out line by line as the documents say it, with no regard for speed.

    shop = model.Shop.read(path)
    shop.kept(life.newest, first_order=life.first) → {"every-dollar": 17, "produce": 4}
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import yaml

from contracts.orders import Line, Order, Refund

SHIPPING: Final = -1
"""Shipping's place beside the lines: the last one."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Rule = Mapping[str, Any]
"""A rule as the file has it, its words turned into parts: `earn: 2 per 1.00` is `{"points": 2, "per": 100}`."""


@dataclass(frozen=True)
class Shop:
    """A shop's rules, and what it takes to read them."""

    rules: Mapping[str, Rule]
    zone: ZoneInfo
    combine: str = "most_specific"

    @classmethod
    def read(cls, file: Path) -> "Shop":
        """From a shop's YAML file."""
        document = yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - it makes nothing but text
        rules = {
            rule_id: _parts({**document.get("defaults", {}), **rule}) for rule_id, rule in document["rules"].items()
        }
        return cls(rules, ZoneInfo(document["programme"]["zone"]), document.get("combine", "most_specific"))

    def kept(self, order: Order, *, first_order: bool) -> dict[str, int]:
        """Points that each rule's awards leave with the member in the end; rules that leave nothing are absent."""
        if order.member is None or order.test or is_cancelled(order):
            return {}
        returned = returned_fractions(order)
        left = {}
        for rule_id, award in self.earned(order, first_order=first_order).items():
            granted_on = self.rules[rule_id].get("granted", {}).get("on", "paid")
            if getattr(order, f"{granted_on}_at") is None:
                continue
            points = award.points - award.taken_back(returned)
            if points:
                left[rule_id] = points
        return left

    def earned(self, order: Order, *, first_order: bool) -> "dict[str, Earned]":
        """What each rule gives for the order as sold."""
        given = _Given(self, order, first_order=first_order)
        return {rule_id: award for rule_id in sorted(self.rules) if (award := given.award(rule_id)).points > 0}


@dataclass(frozen=True)
class Earned:
    """One award: its points, and what each line (and last shipping) weighs in it."""

    points: int
    weights: Sequence[Fraction]

    def taken_back(self, returned: Sequence[Fraction]) -> int:
        """What returns take of it in all."""
        whole = sum(self.weights)
        if not whole:
            return self.points if all(fraction == 1 for fraction in returned[:-1]) else 0
        back = sum((weight * fraction for weight, fraction in zip(self.weights, returned, strict=True)), Fraction(0))
        return half_up(self.points * back / whole)


class _Given:
    """One order under one shop's rules."""

    def __init__(self, shop: Shop, order: Order, *, first_order: bool) -> None:
        self._shop = shop
        self._order = order
        self._sums = Sums(order)
        self._first_order = first_order
        self._live = [rule_id for rule_id in sorted(shop.rules) if self._holds(shop.rules[rule_id])]
        # By rule and place: the promotions that multiply it there.
        self._shares: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for place, line in enumerate(order.lines):
            self._share_out(place, [rule_id for rule_id in self._live if _matches(shop.rules[rule_id], line)])
        if self._sums.payable[SHIPPING]:
            self._share_out(
                SHIPPING,
                [
                    rule_id
                    for rule_id in self._live
                    if not shop.rules[rule_id].get("match")
                    and ("multiply" in shop.rules[rule_id] or "shipping" in shop.rules[rule_id].get("basis", ()))
                ],
            )

    def award(self, rule_id: str) -> Earned:
        """What a rule gives; 0 points where it gives nothing."""
        rule, shares = self._shop.rules[rule_id], self._shares.get(rule_id)
        nothing = Earned(0, [])
        if not shares:
            return nothing
        earn = rule["earn"]
        if earn.get("each") == "order":
            # What is no line's is multiplied by what holds for the whole order alone.
            everywhere = set.intersection(*map(set, shares.values()))
            order_wide = [promotion for promotion in everywhere if not self._shop.rules[promotion].get("match")]
            shares = dict.fromkeys(shares, order_wide)
        factors = {place: self._factor(promotions) for place, promotions in shares.items()}
        fixed = "each" in earn
        money = self._money(rule, whoever_paid=fixed)
        if fixed:
            exact = self._fixed(earn, factors)
        elif "bands" in earn:
            exact = _in_bands(earn, money, factors)
        else:
            exact = _per_money(earn, money, factors)
        weights = [Fraction(0)] * (len(self._order.lines) + 1)
        for place, factor in factors.items():
            weights[place] = money[place] * factor
        if fixed and not any(weights):
            for place in factors:
                weights[place] = Fraction(self._order.lines[place].quantity if place != SHIPPING else 0)
        return Earned(ROUNDINGS[rule.get("rounding", "floor")](exact), weights)

    def _fixed(self, earn: Mapping[str, Any], factors: Mapping[int, Fraction]) -> Fraction:
        points = Fraction(earn["points"])
        if earn["each"] == "order":
            return points * next(iter(factors.values()))
        pieces = {place: self._order.lines[place].quantity for place in factors if place != SHIPPING}
        return sum((points * count * factors[place] for place, count in pieces.items()), Fraction(0))

    def _share_out(self, place: int, matching: Sequence[str]) -> None:
        """Who gives on a line that these rules match."""
        rules = self._shop.rules
        earning = [rule_id for rule_id in matching if "earn" in rules[rule_id]]
        promotions = [rule_id for rule_id in matching if "multiply" in rules[rule_id]]
        alone = _first([rule_id for rule_id in earning if rules[rule_id].get("exclusive")], rules)
        if alone is not None:
            self._shares[alone][place] = []
            return
        winner = _first([rule_id for rule_id in promotions if rules[rule_id].get("exclusive")], rules)
        if winner is not None:
            promotions = [winner]
        adding = [r for r in earning if rules[r].get("stack") or rules[r]["earn"].get("each") == "order"]
        competing = [rule_id for rule_id in earning if rule_id not in adding]
        if competing and self._shop.combine == "most_specific":
            competing = [max(competing, key=lambda r: (_specificity(rules[r]), rules[r].get("priority", 0)))]
        elif competing and self._shop.combine == "best_of":
            raise NotImplementedError("the model knows no shop that gives the best of several rules")
        for rule_id in (*competing, *adding):
            self._shares[rule_id][place] = [
                promotion
                for promotion in promotions
                if rule_id in (rules[promotion]["multiply"].get("of") or (rule_id,))
            ]

    def _factor(self, promotions: Iterable[str]) -> Fraction:
        factor = Fraction(1)
        for promotion in promotions:
            factor *= Fraction(self._shop.rules[promotion]["multiply"]["by"])
        return factor

    def _holds(self, rule: Rule) -> bool:
        """Whether the rule's conditions are met by the order."""
        when, order = rule.get("when", {}), self._order
        clock = order.placed_at.astimezone(self._shop.zone)
        if "from" in when and order.placed_at < self._instant(when["from"]):
            return False
        if "until" in when and order.placed_at >= self._instant(when["until"]):
            return False
        if when.get("weekdays") and WEEKDAYS[clock.weekday()] not in when["weekdays"]:
            return False
        if "hours" in when and not _within(when["hours"], clock.time()):
            return False
        if when.get("channels") and order.channel not in when["channels"]:
            return False
        if when.get("first_order") == "true" and not self._first_order:
            return False
        if "coupons" in when and not _coupons_fit(when["coupons"], order.coupons):
            return False
        return "minimum" not in when or self._counted(rule) >= when["minimum"]

    def _counted(self, rule: Rule) -> int:
        """All money that counts by the rule's basis, whatever its scope."""
        money = self._money(rule)
        counted = sum(money[place] for place, line in enumerate(self._order.lines) if _counts(rule, line))
        return counted + (money[SHIPPING] if "shipping" in rule.get("basis", ()) else 0)

    def _money(self, rule: Rule, *, whoever_paid: bool = False) -> list[int]:
        """Per line, and last for shipping, the money that the rule looks at."""
        basis = rule.get("basis", ())
        return self._sums.money(
            before_discounts="before_discounts" in basis,
            with_tax="with_tax" in basis,
            points_paid=whoever_paid or "points_paid" in basis,
        )

    def _instant(self, moment: str) -> datetime:
        parsed = datetime.fromisoformat(moment)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=self._shop.zone)


class Sums:
    """What each line and, last, shipping comes to, in minor units."""

    def __init__(self, order: Order) -> None:
        lines = order.lines
        self._tax_inside = order.prices_include_tax
        self.values = [line.quantity * line.unit_price for line in lines] + [order.shipping]
        prices = [max(line.quantity * line.unit_price - line.discount, 0) for line in lines]
        off = spread(min(order.discount, sum(prices)), prices)
        prices = [price - share for price, share in zip(prices, off, strict=True)] + [order.shipping]
        taxes = [line.tax for line in lines] + [order.shipping_tax]
        if self._tax_inside:
            self.taxes = [min(tax, price) for tax, price in zip(taxes, prices, strict=True)]
            self.payable = prices
            self.net = [price - tax for price, tax in zip(prices, self.taxes, strict=True)]
        else:
            self.taxes = taxes
            self.payable = [price + tax for price, tax in zip(prices, taxes, strict=True)]
            self.net = prices
        nothing = [0] * len(self.payable)
        self.by_points = self._paid_by("points", order, nothing)
        self.by_vouchers = self._paid_by("voucher", order, self.by_points)

    @property
    def charges(self) -> list[int]:
        """What refunds are measured by: the price with tax, less what points paid."""
        return [price - points for price, points in zip(self.payable, self.by_points, strict=True)]

    def money(self, *, before_discounts: bool, with_tax: bool, points_paid: bool) -> list[int]:
        """Per line, and last for shipping, the money of a basis."""
        if not before_discounts:
            money = self.payable if with_tax else self.net
        elif self._tax_inside == with_tax:
            money = self.values
        else:
            sign = 1 if with_tax else -1
            money = [value + sign * tax for value, tax in zip(self.values, self.taxes, strict=True)]
        if points_paid:
            return list(money)
        without = []
        for place, whole in enumerate(self.payable):
            part = self.by_points[place] + self.by_vouchers[place]
            without.append(half_up(Fraction(money[place] * (whole - part), whole)) if part else money[place])
        return without

    def _paid_by(self, kind: str, order: Order, paid_already: Sequence[int]) -> list[int]:
        amount = sum(tender.amount for tender in order.tenders if tender.kind == kind)
        room = [price - paid for price, paid in zip(self.payable, paid_already, strict=True)]
        on_lines = min(amount, sum(room[:-1]))
        return [*spread(on_lines, room[:-1]), min(amount - on_lines, room[-1])]


def returned_fractions(order: Order) -> list[Fraction]:
    """How much of each line, and last of shipping, has come back, over all returns of the present payment."""
    charges = Sums(order).charges
    quantities = [*(line.quantity for line in order.lines), 1]
    gone = [Fraction(0)] * len(charges)
    places = {line.line: place for place, line in enumerate(order.lines)}
    since = order.paid_at if order.cancellations else None
    refunds = [refund for refund in order.refunds if since is None or refund.at >= since]
    for refund in sorted(refunds, key=lambda refund: (refund.at, refund.refund)):
        _come_back(refund, charges, quantities, gone, places)
    return gone


def _come_back(
    refund: Refund, charges: Sequence[int], quantities: Sequence[int], gone: list[Fraction], places: Mapping[str, int]
) -> None:
    def add(place: int, fraction: Fraction) -> None:
        gone[place] = min(gone[place] + fraction, Fraction(1))

    def left(place: int) -> int:
        return ceil(charges[place] * (1 - gone[place]))

    def add_anywhere(amount: int) -> None:
        if amount >= sum(charge * (1 - fraction) for charge, fraction in zip(charges, gone, strict=True)):
            gone[:] = [Fraction(1)] * len(gone)
            return
        for place, share in enumerate(spread(amount, [left(place) for place in range(len(charges))])):
            if share:
                add(place, Fraction(share, charges[place]))

    if not refund.lines:
        add_anywhere(refund.amount or 0)
        return
    if refund.amount is not None:
        # The lives that are made here never say both; whoever makes such lives must write down here what they mean.
        raise NotImplementedError("a refund with lines and an amount in all")
    for part in refund.lines:
        place = places[part.line]
        if part.amount is not None and charges[place]:
            add(place, Fraction(part.amount, charges[place]))
        elif part.quantity is not None:
            add(place, Fraction(part.quantity, quantities[place]))
        else:
            gone[place] = Fraction(1)


def is_cancelled(order: Order) -> bool:
    """Whether the newest cancellation still holds."""
    if not order.cancellations:
        return False
    return order.paid_at is None or any(cancellation.at >= order.paid_at for cancellation in order.cancellations)


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """Shares by largest remainder, ties to the earlier; equal weights where all weigh nothing."""
    if not weights:
        return []
    if not any(weights):
        weights = [1] * len(weights)
    exact = [Fraction(amount * weight, sum(weights)) for weight in weights]
    shares = [floor(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda place: (shares[place] - exact[place], place))
    for place in by_remainder[: amount - sum(shares)]:
        shares[place] += 1
    return shares


def half_up(exact: Fraction) -> int:
    """To the nearest whole; a half goes up."""
    return floor(exact + Fraction(1, 2))


ROUNDINGS: Final[Mapping[str, Callable[[Fraction], int]]] = {
    "floor": floor,
    "ceil": ceil,
    "half_up": half_up,
    "half_even": round,
}


def _parts(rule: Mapping[str, Any]) -> Rule:
    """A rule's words as parts. All scalars of the file are text; amounts of money become cents."""
    parts: dict[str, Any] = dict(rule)
    if "earn" in rule:
        parts["earn"] = _earning(rule["earn"])
    if isinstance(rule.get("multiply"), str):
        parts["multiply"] = {"by": rule["multiply"]}
    if isinstance(rule.get("granted"), str):
        parts["granted"] = {"on": rule["granted"].split()[-1]}
    when = dict(rule.get("when", {}))
    if "minimum" in when:
        when["minimum"] = _cents(when["minimum"])
    if "hours" in when:
        when["hours"] = dict(zip(("from", "until"), when["hours"].split("-"), strict=True))
    parts["when"] = when
    for flag in ("stack", "exclusive"):
        parts[flag] = rule.get(flag) == "true"
    parts["priority"] = int(rule.get("priority", 0))
    return parts


def _earning(words: Any) -> dict[str, Any]:
    """`2 per 1.00 in whole groups`, `5 per unit`, `50 per order`, or bands of `1 per 1.00 up to 5.00`."""
    if isinstance(words, str):
        points, _, rest = words.partition(" per ")
        if rest in ("unit", "order"):
            return {"points": points, "each": rest}
        money, _, groups = rest.partition(" in ")
        return {"points": points, "per": _cents(money), "whole_groups": groups == "whole groups"}
    bands = []
    for band in words["bands"]:
        rate, _, upper = band.partition(" up to ")
        points, _, money = rate.partition(" per ")
        bands.append({"points": points, "per": _cents(money), "up_to": _cents(upper) if upper else None})
    return {"bands": bands, "marginal": words.get("marginal") == "true"}


def _cents(amount: str) -> int:
    return int(Fraction(amount) * 100)


def _per_money(earn: Mapping[str, Any], money: Sequence[int], factors: Mapping[int, Fraction]) -> Fraction:
    points, per = Fraction(earn["points"]), earn["per"]
    if not earn.get("whole_groups"):
        return sum((points * money[place] * factor / per for place, factor in factors.items()), Fraction(0))
    # Full groups of everything, and once more of the part that a promotion is on for what it adds.
    total = Fraction(sum(money[place] for place in factors) // per)
    if len(set(factors.values())) == 1:
        return points * total * next(iter(factors.values()))
    for factor in set(factors.values()):
        part = sum(money[place] for place, own in factors.items() if own == factor)
        total += (factor - 1) * (part // per)
    return max(points * total, Fraction(0))


def _in_bands(earn: Mapping[str, Any], money: Sequence[int], factors: Mapping[int, Fraction]) -> Fraction:
    """The whole amount says the rate; a promotion multiplies its own part of it."""
    amount = sum(money[place] for place in factors)
    if not amount:
        return Fraction(0)
    points, below = Fraction(0), 0
    for band in earn["bands"]:
        upper = band.get("up_to")
        rate = Fraction(band["points"]) / band["per"]
        if earn.get("marginal"):
            inside = (amount if upper is None else min(amount, upper)) - below
            points += max(inside, 0) * rate
            below = amount if upper is None else upper
        elif upper is None or amount <= upper:
            points = amount * rate
            break
    multiplied = sum((money[place] * factor for place, factor in factors.items()), Fraction(0))
    return points * multiplied / amount


def _matches(rule: Rule, line: Line) -> bool:
    """Whether the line is in the rule's scope and counts: of each kind of word that is given, one of them."""
    match = rule.get("match", {})
    return _counts(rule, line) and all(set(words) & _labels(line)[kind] for kind, words in match.items() if words)


def _counts(rule: Rule, line: Line) -> bool:
    basis, exclude = rule.get("basis", ()), rule.get("exclude", {})
    if (line.gift_card and "gift_cards" not in basis) or (line.reward and "reward_lines" not in basis):
        return False
    return not any(set(words) & _labels(line)[kind] for kind, words in exclude.items())


def _labels(line: Line) -> dict[str, set[str | None]]:
    return {
        "products": {line.product, line.sku},
        "categories": set(line.categories),
        "brands": {line.brand},
        "tags": set(line.tags),
    }


def _specificity(rule: Rule) -> int:
    match = rule.get("match", {})
    if match.get("products"):
        return 3
    return 2 if any(match.values()) else 1


def _first(rule_ids: Sequence[str], rules: Mapping[str, Rule]) -> str | None:
    """The one with the highest priority; of equals the first in the alphabet."""
    return max(rule_ids, key=lambda rule_id: rules[rule_id].get("priority", 0), default=None)


def _within(hours: Mapping[str, str], clock: time) -> bool:
    since, until = time.fromisoformat(hours["from"]), time.fromisoformat(hours["until"])
    return since <= clock < until if since <= until else clock >= since or clock < until


def _coupons_fit(wanted: str | Sequence[str], used: Sequence[str]) -> bool:
    if wanted == "any":
        return bool(used)
    if wanted == "none":
        return not used
    return bool(set(wanted) & set(used))
