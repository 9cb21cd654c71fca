"""Tokens for tests: a key pair, its JWKS file, and whatever claims a test wants to try."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.tokens import ALL_SCOPES, AUDIENCE, ISSUER, DevelopmentIssuer

__all__ = ["ALL_SCOPES", "AUDIENCE", "ISSUER", "DevelopmentIssuer", "Tokens"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """An issuer whose public keys lie in a file that services under test read."""

    issuer: DevelopmentIssuer
    jwks_file: Path

    def mint(self, scope: str = ALL_SCOPES, shop: str = "*", *, lifetime_seconds: int = 3600, **claims: Any) -> str:
        """A token; claims given replace the usual ones, so that wrong ones can be made."""
        return self.issuer.mint(scope, shop, client="test", lifetime_seconds=lifetime_seconds, **claims)

    def headers(self, scope: str = ALL_SCOPES, shop: str = "*", **claims: Any) -> dict[str, str]:
        """The Authorization header with such a token."""
        token = self.issuer.mint(scope, shop, client="test", **claims)
        return {"authorization": f"Bearer {token}"}
