"""The issuer's keys change while the gateway runs."""

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit import wait_until
from testkit.tokens import DevelopmentIssuer, Tokens

from .conftest import gateway

BALANCES = "/v1/shops/demo/members/m-1/balances"

STRANGERS: list[dict[str, Any]] = [
    {"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "AAAA"},
    {"kty": "OKP", "crv": "Ed448", "kid": "other", "x": "AAAA"},
    {"kty": "OKP"},
    {},
]
"""Keys of kinds that nobody here knows; an issuer that adds one locks nobody out (RFC 7517, section 5)."""


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    return folder / "jwks.json"


@pytest.fixture
def issuer(jwks_file: Path) -> Tokens:
    return _publish(jwks_file)


@pytest.fixture
async def client(tmp_path: Path, issuer: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(tmp_path, issuer.jwks_file) as running, httpx.AsyncClient(base_url=running.url) as made:
        yield made


async def test_tokens_by_new_keys_are_let_in_soon_and_others_by_withdrawn_ones_no_more(
    client: httpx.AsyncClient, issuer: Tokens, jwks_file: Path
) -> None:
    assert await _status(client, issuer) == 200
    later = _publish(jwks_file)

    async def is_let_in() -> bool:
        return await _status(client, later) == 200

    async def are_refused() -> bool:
        return await _status(client, issuer, sub=f"somebody-{next(others)}") == 401

    others = count()
    await wait_until(is_let_in, what="the new keys to be known")
    await wait_until(are_refused, what="the old ones to be gone")  # each of the gateway's threads has its own


async def test_a_token_that_is_remembered_expires(client: httpx.AsyncClient, issuer: Tokens) -> None:
    headers = issuer.headers(lifetime_seconds=1)
    assert (await client.get(BALANCES, headers=headers)).status_code == 200

    async def is_refused() -> bool:
        return (await client.get(BALANCES, headers=headers)).status_code == 401

    await wait_until(is_refused, what="the token to expire, and the clocks' difference that is allowed to pass")


async def test_keys_of_kinds_that_it_does_not_know_are_passed_over(
    client: httpx.AsyncClient, issuer: Tokens, jwks_file: Path
) -> None:
    later = _publish(jwks_file, *STRANGERS)

    async def is_let_in() -> bool:
        return await _status(client, later) == 200

    await wait_until(is_let_in, what="the new keys to be known")


def _publish(jwks_file: Path, *strangers: dict[str, Any]) -> Tokens:
    """Put keys of a new issuer in place at once, as whoever replaces such a file must."""
    issuer = DevelopmentIssuer.generate()
    made = jwks_file.with_suffix(".new")
    made.write_text(json.dumps({"keys": [*strangers, *json.loads(issuer.jwks())["keys"]]}))
    made.replace(jwks_file)
    return Tokens(issuer, jwks_file)


async def _status(client: httpx.AsyncClient, tokens: Tokens, **claims: Any) -> int:
    return (await client.get(BALANCES, headers=tokens.headers(**claims))).status_code
