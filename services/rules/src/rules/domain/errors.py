"""What the rules refuse, as nouns that hold the facts.

RulesError
├── ShopNotFound
├── RuleNotFound
├── RuleSetNotFound
├── RuleSetInvalid
├── OrderNotFound
├── CurrencyFixed
├── NothingToRollBackTo
└── RateMissing
"""

from dataclasses import dataclass


class RulesError(Exception):
    """A refusal."""

    code = "rules_error"


@dataclass(eq=False)
class ShopNotFound(RulesError):
    """The shop has no programme."""

    shop: str
    code = "shop_not_found"

    def __str__(self) -> str:
        return "this shop has no programme yet"


@dataclass(eq=False)
class RuleNotFound(RulesError):
    """There is no draft of that name."""

    rule: str
    code = "rule_not_found"

    def __str__(self) -> str:
        return "there is no such rule among the drafts"


@dataclass(eq=False)
class RuleSetNotFound(RulesError):
    """The shop has no such version."""

    version: int | None
    code = "rule_set_not_found"

    def __str__(self) -> str:
        return "there is no such version of the shop's rules" if self.version else "no rules are active at that time"


@dataclass(eq=False)
class RuleSetInvalid(RulesError):
    """The drafts do not make a set."""

    reason: str
    code = "rule_set_invalid"

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class OrderNotFound(RulesError):
    """No state of that order has come."""

    order: str
    code = "order_not_found"

    def __str__(self) -> str:
        return "no state of this order is known"


@dataclass(eq=False)
class CurrencyFixed(RulesError):
    """Rules and stored rates of orders are in the shop's currency."""

    currency: str
    code = "currency_fixed"

    def __str__(self) -> str:
        return "the currency cannot change once there are rules in it"


@dataclass(eq=False)
class NothingToRollBackTo(RulesError):
    """No version was active before this one."""

    active: int | None
    code = "nothing_to_roll_back_to"

    def __str__(self) -> str:
        return "no version was active before"


@dataclass(eq=False)
class RateMissing(RulesError):
    """An order in another currency than the shop's needs the rate stored with it."""

    currency: str
    code = "rate_missing"

    def __str__(self) -> str:
        return "an order in another currency needs its rate"
