"""What redemption refuses, and the facts that a caller needs to do better; no HTTP in here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why points cannot be used, with the figures it was decided on."""

    code: str
    facts: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, code: str, **facts: Any) -> "Reason":
        return cls(code, tuple(facts.items()))

    def told(self) -> dict[str, Any]:
        """As callers see it."""
        return {"code": self.code, "facts": dict(self.facts)}


@dataclass(eq=False)
class RedemptionError(Exception):
    """Base of everything that redemption refuses for a reason of business; nothing has changed then."""

    code: ClassVar[str]
    title: ClassVar[str]

    def __str__(self) -> str:
        return self.title


@dataclass(eq=False)
class PointsNotUsable(RedemptionError):
    """Not a single point may be used for this cart; the reasons say why."""

    code: ClassVar[str] = "points_not_usable"
    title: ClassVar[str] = "No points can be used for this cart"

    reasons: Sequence[dict[str, Any]] = ()
    maximum: int = 0


@dataclass(eq=False)
class TooManyPoints(RedemptionError):
    """More points were asked for than may be used; the maximum is named."""

    code: ClassVar[str] = "too_many_points"
    title: ClassVar[str] = "More points than may be used for this cart"

    asked: int
    maximum: int
    worth: int
    """What the maximum is worth, in minor units of `currency`."""
    currency: str
    limited_by: str


@dataclass(eq=False)
class NotWholeSteps(RedemptionError):
    """Points are used in whole steps only."""

    code: ClassVar[str] = "not_whole_steps"
    title: ClassVar[str] = "Points are used in whole steps only"

    asked: int
    step: int
    maximum: int


@dataclass(eq=False)
class WorthNothing(RedemptionError):
    """So few points that they are worth less than the smallest coin."""

    code: ClassVar[str] = "points_worth_nothing"
    title: ClassVar[str] = "These points are worth less than the smallest unit of the currency"

    asked: int
    maximum: int


@dataclass(eq=False)
class RateMissing(RedemptionError):
    """A cart in another currency than the shop's must carry its rate."""

    code: ClassVar[str] = "currency_rate_missing"
    title: ClassVar[str] = "The cart is in another currency than the shop's and names no rate"

    currency: str
    shop_currency: str


@dataclass(eq=False)
class SettingsNotFound(RedemptionError):
    """The shop has not said yet how points are used."""

    code: ClassVar[str] = "settings_not_found"
    title: ClassVar[str] = "The shop has no settings for using points"


@dataclass(eq=False)
class ShopNotFound(RedemptionError):
    """No programme of this shop is known."""

    code: ClassVar[str] = "shop_not_found"
    title: ClassVar[str] = "No programme of this shop is known"

    shop: str


@dataclass(eq=False)
class CheckoutNotFound(RedemptionError):
    """The shop has no such checkout."""

    code: ClassVar[str] = "checkout_not_found"
    title: ClassVar[str] = "The shop has no such checkout"

    checkout: str


@dataclass(eq=False)
class CheckoutExists(RedemptionError):
    """The checkout already holds points, or has used them."""

    code: ClassVar[str] = "checkout_exists"
    title: ClassVar[str] = "This checkout has points already; release it first, or use another id"

    checkout: str
    state: str
    points: int


@dataclass(eq=False)
class CheckoutCaptured(RedemptionError):
    """The order has been paid: the points come back with a refund or a cancellation, not with a release."""

    code: ClassVar[str] = "checkout_captured"
    title: ClassVar[str] = "The points have been used by a paid order; cancel or refund the order instead"

    checkout: str
    order: str | None
    points: int


@dataclass(eq=False)
class IdempotencyConflict(RedemptionError):
    """The same key came with another content."""

    code: ClassVar[str] = "idempotency_conflict"
    title: ClassVar[str] = "This Idempotency-Key was used with another content"

    checkout: str


@dataclass(eq=False)
class InsufficientPoints(RedemptionError):
    """The points went elsewhere between the quote and the hold."""

    code: ClassVar[str] = "insufficient_points"
    title: ClassVar[str] = "The member has not enough points"

    asked: int
    available: int
    maximum: int = 0


@dataclass(eq=False)
class HoldRefused(RedemptionError):
    """The ledger refused the hold for a reason of its own, such as a frozen account."""

    code: ClassVar[str] = "hold_refused"
    title: ClassVar[str] = "The ledger refused to hold the points"

    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class LedgerUnavailable(RedemptionError):
    """The ledger did not answer; the intent is kept and finished later, and the same key may be sent again."""

    code: ClassVar[str] = "ledger_unavailable"
    title: ClassVar[str] = "The ledger did not answer; send the same request again"

    retry_after_seconds: int = 2
