"""The way to the database server: to that one of its hosts which serves, noticed when the other side has vanished, and
not taken when another history goes on there.

The driver has one time-out for all hosts together, so it never comes to the one behind a host that does not answer; and
a connection to a host that lost its power or its network lives for as long as the system sends again: a quarter of an
hour.
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from chassis.faults import is_transient

CONNECT_SECONDS: Final = 3.0
"""For each host: one that is up answers in milliseconds."""

IDLE_SECONDS: Final = 10
PROBE_SECONDS: Final = 5
PROBES: Final = 2
"""A side that was silent for so long is asked so often, so far apart, whether it is still there."""

LOST_SECONDS: Final = IDLE_SECONDS + PROBES * PROBE_SECONDS
"""After so long a connection whose other side says nothing at all is over; a busy host's system answers by itself."""

TOLD: Final = {
    "tcp_keepalives_idle": str(IDLE_SECONDS),
    "tcp_keepalives_interval": str(PROBE_SECONDS),
    "tcp_keepalives_count": str(PROBES),
    "tcp_user_timeout": str(1000 * LOST_SECONDS),
}
"""What a session tells the server, so that it lets go of what a vanished caller has locked."""

_KEPT: Final = {
    "TCP_KEEPIDLE": IDLE_SECONDS,
    "TCP_KEEPINTVL": PROBE_SECONDS,
    "TCP_KEEPCNT": PROBES,
    "TCP_USER_TIMEOUT": 1000 * LOST_SECONDS,
}
"""The same for our side, as far as the system has it."""

_HOSTS: Final = re.compile(r"([^/]+//(?:[^/?@]*@)?)([^/?@]+)(.*)", re.DOTALL)
"""What an address has before its hosts, these, and what is behind them; Python's own parser takes one host only."""

_TIMELINE: Final = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
"""Grows when a standby takes over or a backup is restored: what was written last in the earlier one may be gone."""


class OtherTimeline(ConnectionError):
    """The database goes on from an earlier moment, perhaps, than what this process has seen of it."""

    def __init__(self) -> None:
        super().__init__("the database goes on in another timeline")


class NotLetIn(ConnectionError):
    """The server refuses us as such: by our password, its rules, or because nobody is let into the database just now.
    Whoever keeps the server mends that, so it is an outage and nobody's bug."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the database does not let us in: {why}")


class Server:
    """A server by its address, which may name several hosts: `postgresql://role:password@one:5432,two:5432/database`."""

    def __init__(self, url: str) -> None:
        self._hosts = each_host(url)
        self._next = 0
        """Whom to ask first: who served last, or who comes after one that did not."""
        self._timeline: str | None = None
        """Of the first connection; None where the server does not say."""
        self.moved = asyncio.Event()
        """Set when it goes on in another timeline; then there are no more connections, and the process begins anew."""

    async def connect(self, _url: str | None = None, **options: Any) -> asyncpg.Connection:
        """A connection to the first host that takes it; raises what the last one said.

        `options` are the driver's own; the signature is what its pool wants.
        """
        for _ in self._hosts[1:]:
            try:
                return await self._connect(options)
            except Exception as error:
                if not is_transient(error) or self.moved.is_set():
                    raise
        return await self._connect(options)

    async def _connect(self, options: dict[str, Any]) -> asyncpg.Connection:
        if self.moved.is_set():
            raise OtherTimeline
        at = self._next
        # Moved on before the outcome is known: who is cancelled meanwhile must not begin with the same one again.
        self._next = (at + 1) % len(self._hosts)
        try:
            connection = await asyncpg.connect(self._hosts[at], timeout=CONNECT_SECONDS, **options)
        except asyncpg.PostgresError as error:
            if is_transient(error):
                raise
            raise NotLetIn(str(error)) from error
        self._next = at
        try:
            _notice_the_loss_of(connection)
            await self._require_the_same_timeline(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _require_the_same_timeline(self, connection: asyncpg.Connection) -> None:
        try:
            timeline = await connection.fetchval(_TIMELINE)
        except asyncpg.PostgresError as error:
            if is_transient(error):
                raise
            return  # it only reads, or keeps no log of this kind
        if self._timeline is None:
            self._timeline = timeline
        elif timeline != self._timeline:
            self.moved.set()
            raise OtherTimeline


def each_host(url: str) -> Sequence[str]:
    """An address for each host that one names."""
    found = _HOSTS.match(url)
    if found is None:
        return [url]
    before, hosts, behind = found.groups()
    return [f"{before}{host}{behind}" for host in hosts.split(",")]


def _notice_the_loss_of(connection: asyncpg.Connection) -> None:
    own = connection._transport.get_extra_info("socket")  # noqa: SLF001  # the driver has no other way to it
    if own.family not in (socket.AF_INET, socket.AF_INET6):
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEPT.items():
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
