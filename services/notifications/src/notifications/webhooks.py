"""Signed webhooks by the Standard Webhooks specification, and a guard against URLs that lead into our own network."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpcore

from notifications.domain import Facts, Scenario, TargetRefused
from notifications.results import Gone, Rejected, Result, Retry, Sent

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how the specification marks secrets
SECRET_BYTES = 32
"""Bytes of a new secret; the specification asks for 24 to 64."""

MAX_URL = 2_000
MAX_RESPONSE_BYTES = 1_024
"""Bytes of a response that are read at all; its status is the answer."""

MAX_RETRY_AFTER_SECONDS = 24 * 3600

_TRANSLATED = [ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48")]
"""IPv6 spellings of IPv4 addresses that gateways translate (NAT64)."""


# --- the specification -------------------------------------------------------------------------------------------


def new_secret() -> str:
    """A secret for one endpoint, as the specification writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """One signature: HMAC-SHA256 of `id.timestamp.body` with the decoded secret, versioned `v1`."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def headers(signing_secrets: Iterable[str], *, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt. While a secret is being rotated there is a signature for each."""
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            sign(secret, webhook_id=webhook_id, timestamp=timestamp, body=body) for secret in signing_secrets
        ),
    }


def payload(scenario: Scenario, *, shop: str, member: str, at: datetime, facts: Facts) -> bytes:
    """The body: the same bytes at every attempt. `points_earned` is of type `points.earned`."""
    told = {key: _json(value) for key, value in asdict(facts).items() if value is not None}
    body = {
        "type": scenario.value.replace("_", ".", 1),
        "timestamp": _json(at),
        "data": {"shop": shop, "member": member, **told},
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


# --- the guard ---------------------------------------------------------------------------------------------------


def check_url(url: str, *, private_targets: bool) -> None:
    """Refuse a URL that is never called. Names are looked up again, and checked, at every connection."""
    if len(url) > MAX_URL or not url.isascii() or any(character.isspace() for character in url):
        raise TargetRefused("not a usable URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetRefused("not a usable URL") from error
    if parts.scheme != "https" and not (private_targets and parts.scheme == "http"):
        raise TargetRefused("must begin with https://")
    if not parts.hostname or parts.username is not None or parts.password is not None or port == 0:
        raise TargetRefused("must have a host and no user")
    if parts.fragment:
        raise TargetRefused("must have no fragment")
    if not private_targets:
        _check_host(parts.hostname)


def _check_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Not an address in its usual spelling; `0x7f.1` and the like are left to the look-up, whose answer is checked.
        if host.rstrip(".").lower().endswith((".localhost", ".local", ".internal")) or "." not in host.rstrip("."):
            raise TargetRefused("names a host of a private network") from None
        return
    if not is_public(address):
        raise TargetRefused("names an address of a private network")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the open internet, also when it is an IPv4 address in an IPv6 spelling."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or any(address in network for network in _TRANSLATED) or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the very address that it has checked, so that a name cannot answer twice differently."""

    def __init__(self, *, private_targets: bool) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._private_targets = private_targets

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the name up, refuse unless every address is public, connect to one of them."""
        addresses = await self._addresses(host, port, timeout)
        failure: Exception = httpcore.ConnectError(f"no address of {host}")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int, seconds: float | None) -> list[str]:
        try:
            async with asyncio.timeout(seconds):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the name's look-up took too long") from error
        except OSError as error:
            raise httpcore.ConnectError("the name cannot be looked up") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not self._private_targets:
            for address in addresses:
                if not is_public(ipaddress.ip_address(address.split("%", 1)[0])):
                    raise TargetRefused("its name leads to an address of a private network")
        return addresses

    async def sleep(self, seconds: float) -> None:
        """As the interface asks."""
        await asyncio.sleep(seconds)


class Caller:
    """Posts webhooks over kept connections. Redirects are not followed: they are failures."""

    def __init__(self, *, connections: int, timeout_seconds: float, private_targets: bool) -> None:
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=GuardedNetwork(private_targets=private_targets),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    async def post(
        self,
        url: str,
        *,
        signing_secrets: Sequence[str],
        webhook_id: str,
        body: bytes,
        now: datetime,
        traceparent: str | None = None,
    ) -> Result:
        """One attempt."""
        sent_headers = headers(signing_secrets, webhook_id=webhook_id, timestamp=int(now.timestamp()), body=body)
        sent_headers |= {"user-agent": "accrual-webhooks/1", "content-length": str(len(body)), "host": _host(url)}
        if traceparent:
            sent_headers["traceparent"] = traceparent
        step = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_seconds)
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._pool.stream(
                    "POST", url, headers=list(sent_headers.items()), content=body, extensions={"timeout": step}
                ) as response,
            ):
                return await _result(response)
        except TargetRefused as refused:
            return Rejected(refused.reason)
        except TimeoutError:
            return Retry("no answer in time")
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            return Retry(f"cannot be reached: {type(error).__name__}")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return Retry(f"connection failed: {type(error).__name__}")
        except (httpcore.UnsupportedProtocol, UnicodeError, ValueError) as error:
            return Rejected(f"cannot be called: {type(error).__name__}")


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


async def _result(response: httpcore.Response) -> Result:
    if 200 <= response.status < 300:
        read = 0
        async for piece in response.aiter_stream():  # a body read to its end lets the connection be used again
            read += len(piece)
            if read > MAX_RESPONSE_BYTES:
                break
        return Sent()
    if response.status == 410:
        return Gone("answered 410 Gone")
    return Retry(f"answered {response.status}", after_seconds=_retry_after(response))


def _retry_after(response: httpcore.Response) -> float | None:
    for name, value in response.headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return float(min(int(value), MAX_RETRY_AFTER_SECONDS))
    return None
