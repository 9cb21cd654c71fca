"""Tokens for development and tests ONLY: whoever holds this key can speak for every shop.

Nothing here belongs in production, where tokens come from an issuer whose public keys the services read.
"""

import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey

ISSUER: Final = "accrual-local"
AUDIENCE: Final = "accrual"
ALL_SCOPES: Final = (
    "ledger:read ledger:write ledger:approve holds:write rules:read rules:write checkouts:read checkouts:write "
    "messages:read messages:write operations"
)

SERVICE_SCOPES: Final = {"redemption": "ledger:read holds:write", "notifications": "ledger:read"}
"""What services that call the ledger may ask of it, for every shop."""

SERVICE_TOKEN_SECONDS: Final = 90 * 24 * 3600
"""Made anew at each start; long enough for a machine that is never restarted while someone tries things on it."""


@dataclass(frozen=True, slots=True)
class DevelopmentIssuer:
    """A key pair that signs tokens on this machine."""

    key: OKPKey

    @classmethod
    def generate(cls) -> "DevelopmentIssuer":
        """A new key pair."""
        return cls(OKPKey.generate_key("Ed25519", auto_kid=True))

    @classmethod
    def kept_in(cls, folder: Path) -> "DevelopmentIssuer":
        """The key pair of a folder, made at first use; the public half lies beside it as `jwks.json`."""
        private, public = folder / "development-private.json", folder / "jwks.json"
        if not private.exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = cls.generate()
            private.touch(mode=0o600)
            private.write_text(json.dumps(made.key.as_dict(private=True)))
            public.write_text(made.jwks())
        return cls(OKPKey.import_key(json.loads(private.read_text())))

    def jwks(self) -> str:
        """The public half, as services and the gateway read it."""
        public = {**self.key.as_dict(private=False), "use": "sig", "alg": "EdDSA"}
        return json.dumps({"keys": [public]})

    def mint(
        self,
        scope: str = ALL_SCOPES,
        shop: str = "*",
        *,
        client: str = "development",
        lifetime_seconds: int = 24 * 3600,
        **claims: Any,
    ) -> str:
        """A token for a client: its shop (`*` for internal services) and its scopes."""
        now = int(time.time())
        body = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": client,
            "iat": now,
            "exp": now + lifetime_seconds,
            "shop": shop,
            "scope": scope,
            **claims,
        }
        with warnings.catch_warnings():
            # The newer name of the algorithm is "Ed25519", which the gateway does not know yet.
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode({"alg": "EdDSA", "kid": self.key.kid}, body, self.key, algorithms=["EdDSA"])
