"""Floods of dead letters, and bugs: one shop's quarantine it, many shops' stop the consumer: then the fault is ours."""

from collections import Counter, deque
from collections.abc import Iterable

from chassis import waiting
from chassis.messages import Message
from chassis.settings import ServiceSettings

WINDOW_SECONDS = 60.0
"""Over which the limits on dead letters count."""


class Flood:
    """Counts dead letters by shop over the window."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._most_per_shop = settings.dead_letters_per_shop
        self._most_shops = settings.dead_letter_shops
        self._recent: deque[tuple[float, str]] = deque()
        self._counts: Counter[str] = Counter()
        self._over: dict[str, float] = {}

    def over(self, messages: Iterable[Message], now: float) -> set[str]:
        """Shops whose dead letters have just become too many. Messages that tell no shop are nobody's flood."""
        while self._recent and self._recent[0][0] < now - WINDOW_SECONDS:
            _, shop = self._recent.popleft()
            self._counts[shop] -= 1
            if not self._counts[shop]:
                del self._counts[shop]  # names of shops that bad messages make up do not pile up
        self._over = {shop: since for shop, since in self._over.items() if since >= now - WINDOW_SECONDS}
        dead = [message.shop for message in messages if message.dead is not None and message.shop != waiting.NO_SHOP]
        self._recent.extend((now, shop) for shop in dead)
        self._counts.update(dead)
        fresh = {s for s in set(dead) if self._counts[s] >= self._most_per_shop and s not in self._over}
        self._over.update(dict.fromkeys(fresh, now))
        return fresh

    def aside(self, shops: Iterable[str], now: float) -> None:
        """Shops that have just been set aside count as over the limit."""
        self._over.update(dict.fromkeys(shops, now))

    @property
    def reason_to_stop(self) -> str | None:
        """Why the consumer must stop, if so many shops are over the limit that the fault cannot be theirs."""
        if len(self._over) < self._most_shops:
            return None
        return f"{len(self._over)} shops quarantined within a minute"
