"""What can be wrong with a request to this service."""

from dataclasses import dataclass


class NotificationError(Exception):
    """What can be wrong with a request to this service.

    NotificationError
    ├── ShopNotFound          the shop is not known (yet)
    ├── ContactNotFound       the member has left no address
    ├── TemplateNotFound      the shop has no text of its own for that scenario and language
    ├── TemplateInvalid       the text cannot be used; says where and why
    ├── EndpointNotFound
    ├── TargetRefused         a webhook address that this service does not call
    ├── TooManyEndpoints
    ├── MessageNotFound
    ├── DeliveryNotFound
    └── DeliveryNotReplayable it waits for its turn already
    """

    code = "notification_error"

    def __str__(self) -> str:
        return (self.__doc__ or "").strip().rstrip(".")


@dataclass(eq=False)
class ShopNotFound(NotificationError):
    """There is no such shop, or its programme has not been told yet."""

    shop: str
    code = "shop_not_found"


@dataclass(eq=False)
class ContactNotFound(NotificationError):
    """The member has left no address."""

    member: str
    code = "contact_not_found"


@dataclass(eq=False)
class TemplateNotFound(NotificationError):
    """The shop has no words of its own for that scenario in that language."""

    scenario: str
    language: str
    code = "template_not_found"


@dataclass(eq=False)
class TemplateInvalid(NotificationError):
    """A template that cannot be used."""

    part: str
    """`subject`, `text` or `html`."""
    line: int
    reason: str
    code = "template_invalid"

    def __str__(self) -> str:
        return f"{self.part}, line {self.line}: {self.reason}"


@dataclass(eq=False)
class EndpointNotFound(NotificationError):
    """The shop has no such webhook endpoint."""

    endpoint: str
    code = "endpoint_not_found"


@dataclass(eq=False)
class TargetRefused(NotificationError):
    """A webhook address that is never called."""

    reason: str
    code = "target_refused"

    def __str__(self) -> str:
        return f"the webhook's address {self.reason}"


@dataclass(eq=False)
class TooManyEndpoints(NotificationError):
    """The shop has as many webhook endpoints as it may have."""

    most: int
    code = "too_many_endpoints"


@dataclass(eq=False)
class MessageNotFound(NotificationError):
    """The member has no such message."""

    message: str
    code = "message_not_found"


@dataclass(eq=False)
class DeliveryNotFound(NotificationError):
    """The shop has no such delivery."""

    delivery: str
    code = "delivery_not_found"


@dataclass(eq=False)
class DeliveryNotReplayable(NotificationError):
    """The delivery waits for its turn already."""

    delivery: str
    code = "delivery_not_replayable"
