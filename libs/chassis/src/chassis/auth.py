"""Who calls: bearer tokens (JWT, EdDSA) checked against the issuer's public keys, with scopes and one shop."""

import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request

from chassis.problems import Problem
from chassis.settings import ServiceSettings

ANY_SHOP = "*"
"""The shop claim of internal services."""

CACHED_TOKENS = 10_000
"""Verified tokens that are remembered; a signature check costs more than a balance read."""

CACHE_SECONDS = 60.0
"""For how long at most; so long after it was withdrawn a key is gone, plus the age of the keys that were read."""

CLOCK_SKEW_SECONDS = 10
"""By how much the issuer's clock may be ahead."""


OPERATIONS = "operations"
"""The scope of those who run the services; only routes that need it may be asked of all shops at once, as `*`."""

_SHOP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,63}")
"""What can be a shop at all."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a valid token speaks for."""

    client: str
    """The token's subject; idempotency keys are unique per shop and client."""
    shop: str
    """One shop, or `*`."""
    scopes: frozenset[str]
    expires_at: float


class Verifier:
    """Checks tokens against a JWKS file, and remembers those that were good."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._path: Path = settings.jwks_file
        self._issuer = settings.token_issuer
        self._audience = settings.token_audience
        self._keys = KeySet([])
        self._read_at = 0.0
        self._cache: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    def verify(self, token: str) -> Caller:
        """The caller, or a 401 that does not tell more than it must."""
        now = time.time()
        cached = self._cache.get(token)
        if cached is not None and now < cached[0]:
            return cached[1]
        caller = self._checked(token, now)
        self._cache[token] = (min(now + CACHE_SECONDS, caller.expires_at), caller)
        if len(self._cache) > CACHED_TOKENS:
            self._cache.popitem(last=False)
        return caller

    def _checked(self, token: str, now: float) -> Caller:
        claims = self._claims(token)
        try:
            caller = Caller(
                client=_text(claims["sub"]),
                shop=_text(claims["shop"]),
                scopes=frozenset(_text(claims.get("scope", "")).split()),
                expires_at=float(claims["exp"]),
            )
            audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
            good = (
                claims["iss"] == self._issuer
                and self._audience in audiences
                and now < caller.expires_at
                and float(claims.get("nbf", 0)) <= now + CLOCK_SKEW_SECONDS
            )
        except (KeyError, TypeError, ValueError) as error:
            raise unauthorized("the token lacks a claim, or one is not what it should be") from error
        if not good:
            raise unauthorized("the token is expired or not for this service")
        return caller

    def _claims(self, token: str) -> dict[str, Any]:
        for fresh in (False, True):
            try:
                return dict(jwt.decode(token, self._key_set(fresh), algorithms=["EdDSA", "Ed25519"]).claims)
            except (JoseError, ValueError):
                if fresh:
                    break
        raise unauthorized("the token's signature could not be verified")

    def _key_set(self, fresh: bool) -> KeySet:
        """The issuer's keys; read again when they are old, so that a withdrawn key goes, and at most once a second when
        a token does not fit those that we know, so that a new one comes."""
        age_seconds = time.monotonic() - self._read_at
        if not self._keys.keys or age_seconds > CACHE_SECONDS or (fresh and age_seconds > 1):
            self._keys = KeySet.import_key_set(json.loads(self._path.read_text()))
            self._read_at = time.monotonic()
        return self._keys


def _text(claim: Any) -> str:
    if not isinstance(claim, str):
        raise TypeError
    return claim


def unauthorized(detail: str) -> Problem:
    """A 401."""
    return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})


def authenticate(request: Request, *scopes: str) -> Caller:
    """The caller of a request, who has all of these scopes and may speak for the path's shop."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("a bearer token is needed")
    caller: Caller = request.app.state.verifier.verify(token.strip())
    missing = [scope for scope in scopes if scope not in caller.scopes]
    if missing:
        raise Problem(403, "scope_missing", f"the token lacks scope {' '.join(missing)}", scopes=missing)
    shop = request.path_params.get("shop")
    if shop is not None:
        possible = _SHOP.fullmatch(shop) or (shop == ANY_SHOP and OPERATIONS in scopes)
        if not possible or caller.shop not in (shop, ANY_SHOP):
            raise Problem(404, "shop_not_found", "there is no such shop for this token")
    return caller


_bearer = HTTPBearer(
    auto_error=False, description="A JWT signed with EdDSA; its scopes are listed with each operation."
)


def _dependency(
    request: Request, scopes: SecurityScopes, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    return authenticate(request, *scopes.scopes)


def requires(*scopes: str) -> Any:
    """A FastAPI dependency: the caller, who has all of these scopes. The scopes show in the OpenAPI document."""
    return Security(_dependency, scopes=list(scopes))
