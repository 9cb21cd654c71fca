"""Who is told what, and how: a shop's settings, a member's wishes, the channels."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum

from notifications.domain.occurrences import Scenario

MAX_LEADS = 10
"""Lead times of one shop. More would be a nuisance to members, not a service."""


class Channel(StrEnum):
    EMAIL = "email"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Reminders:
    """When the end of points is announced."""

    lead_days: tuple[int, ...] = (30, 7, 1)
    """Days before the last day of use; 0 is that day itself."""
    local_time: time = time(9, 0)
    """Time of day in the shop's zone: nobody wants to be woken at midnight."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One shop: what its programme says and what it wants to be told."""

    shop: str
    on: bool = True
    """A programme that is off is silent."""
    zone: str = "UTC"
    language: str = "en"
    points_name: str = "points"
    switches: Mapping[tuple[Scenario, Channel], bool] = field(default_factory=dict)
    """Absent: on."""
    reminders: Reminders = Reminders()
    stale_after: timedelta = timedelta(hours=48)
    """Older news is no news: it is not told (a back-fill, or a long standstill)."""

    def wants(self, scenario: Scenario, channel: Channel) -> bool:
        return self.on and (not self.switches or self.switches.get((scenario, channel), True))


@dataclass(frozen=True, slots=True)
class Recipient:
    """A member as far as e-mail is concerned."""

    reachable: bool = False
    """An address is known."""
    email_on: bool = True
    muted: frozenset[Scenario] = frozenset()

    def accepts(self, scenario: Scenario) -> bool:
        return self.email_on and scenario not in self.muted


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook that a shop listens on."""

    endpoint: str
    scenarios: frozenset[Scenario] | None = None
    """None: all, also those that do not exist yet."""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """One way that a message takes."""

    channel: Channel
    endpoint: str | None = None


class Silence(StrEnum):
    """Why nothing is due over a channel; counted, so that a quiet system can be told from a broken one."""

    PROGRAMME_OFF = "programme_off"
    STALE = "stale"
    SWITCHED_OFF = "switched_off"
    NO_CONTACT = "no_contact"
    OPTED_OUT = "opted_out"


def due(
    scenario: Scenario,
    at: datetime,
    *,
    settings: Settings,
    recipient: Recipient,
    endpoints: Collection[Endpoint] = (),
    now: datetime,
) -> tuple[list[Route], list[Silence]]:
    """The ways that a message takes to its member and to the shop's systems, and why it does not take others."""
    if not settings.on:
        return [], [Silence.PROGRAMME_OFF]
    if now - at > settings.stale_after:
        return [], [Silence.STALE]
    routes: list[Route] = []
    silences: list[Silence] = []
    if not settings.wants(scenario, Channel.EMAIL):
        silences.append(Silence.SWITCHED_OFF)
    elif not recipient.reachable:
        silences.append(Silence.NO_CONTACT)
    elif not recipient.accepts(scenario):
        silences.append(Silence.OPTED_OUT)
    else:
        routes.append(Route(Channel.EMAIL))
    if settings.wants(scenario, Channel.WEBHOOK):
        routes += [
            Route(Channel.WEBHOOK, each.endpoint)
            for each in endpoints
            if each.enabled and (each.scenarios is None or scenario in each.scenarios)
        ]
    return routes, silences
