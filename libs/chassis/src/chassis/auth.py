"""Who calls: bearer tokens (JWT, EdDSA) checked against the issuer's public keys, with scopes and one shop."""

import contextlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
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

KEYS_SECONDS = 60.0
"""How old the issuer's keys may be; so long after it was withdrawn a key lets nobody in any more."""

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
    """Checks tokens against a JWKS file, and remembers those that were good until they expire or the keys change."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._path: Path = settings.jwks_file
        self._issuer = settings.token_issuer
        self._audience = settings.token_audience
        self._document = b""
        self._keys = KeySet([])
        self._read_at = -KEYS_SECONDS
        self._good: OrderedDict[bytes, Caller] = OrderedDict()
        """By the token's bytes, the least recently seen first."""

    def verify(self, token: bytes) -> Caller:
        """The caller, or a 401 that does not tell more than it must."""
        if time.monotonic() - self._read_at > KEYS_SECONDS:
            self._read_keys()
        now = time.time()
        caller = self._good.get(token)
        if caller is not None and now < caller.expires_at:
            self._good.move_to_end(token)
            return caller
        caller = self._good[token] = self._checked(token, now)
        if len(self._good) > CACHED_TOKENS:
            self._good.popitem(last=False)
        return caller

    def _read_keys(self) -> None:
        """Whatever was good by other keys is looked at again."""
        document = self._path.read_bytes()
        if document != self._document:
            try:
                self._keys = _ours(json.loads(document)["keys"])
            except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise OSError(f"{self._path} is not a JWKS document") from error  # ours to mend, not the caller's
            self._document = document
            self._good.clear()
        self._read_at = time.monotonic()

    def _checked(self, token: bytes, now: float) -> Caller:
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
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise unauthorized("the token lacks a claim, or one is not what it should be") from error
        if not good:
            raise unauthorized("the token is expired or not for this service")
        return caller

    def _claims(self, token: bytes) -> dict[str, Any]:
        """What the token says. One that does not fit the keys has them read again, so that a new one comes at once, but
        at most once a second."""
        while True:
            with contextlib.suppress(JoseError, ValueError):
                return dict(jwt.decode(token, self._keys, algorithms=["EdDSA", "Ed25519"]).claims)
            if time.monotonic() - self._read_at < 1:
                raise unauthorized("the token's signature could not be verified")
            self._read_keys()


def _ours(listed: list[dict[str, Any]]) -> KeySet:
    """Those that can sign our tokens. Issuers have keys of other kinds and for other purposes beside them."""
    ours = [key for key in listed if (key.get("kty"), key.get("crv")) == ("OKP", "Ed25519")]
    return KeySet.import_key_set({"keys": ours}) if ours else KeySet([])


def _text(claim: Any) -> str:
    if not isinstance(claim, str):
        raise TypeError
    return claim


def unauthorized(detail: str) -> Problem:
    """A 401."""
    return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})


def authenticate(request: Request, *scopes: str) -> Caller:
    """The caller of a request, who has all of these scopes and may speak for the path's shop."""
    authorization = request.headers.get("authorization", "").encode("latin-1")
    return caller_of(request.app.state.verifier, authorization, scopes, request.path_params.get("shop"))


def caller_of(verifier: Verifier, authorization: bytes, scopes: Sequence[str], shop: str | None) -> Caller:
    """The same from the header's bytes and the path's shop."""
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise unauthorized("a bearer token is needed")
    caller = verifier.verify(token.strip())
    missing = [scope for scope in scopes if scope not in caller.scopes]
    if missing:
        raise Problem(403, "scope_missing", f"the token lacks scope {' '.join(missing)}", scopes=missing)
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
