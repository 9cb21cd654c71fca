"""Whose tokens are good: the issuer's keys as they are now, whatever else its document has."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from chassis import auth
from testkit.probe import settings_of_nobody
from testkit.tokens import Tokens


@dataclass
class Clock:
    """The verifier's time, which passes when the test says so."""

    seconds: float = 0.0

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, started = Clock(), (time.time(), time.monotonic())
    monkeypatch.setattr(auth.time, "time", lambda: started[0] + clock.seconds)
    monkeypatch.setattr(auth.time, "monotonic", lambda: started[1] + clock.seconds)
    return clock


@pytest.fixture
def jwks(tokens: Tokens, tmp_path: Path) -> Path:
    """A copy of the issuer's keys that a test may change."""
    file = tmp_path / "jwks.json"
    file.write_text(tokens.jwks_file.read_text())
    return file


@pytest.fixture
def verifier(jwks: Path) -> auth.Verifier:
    return auth.Verifier(settings_of_nobody(jwks_file=jwks))


def test_a_withdrawn_key_lets_nobody_in(verifier: auth.Verifier, tokens: Tokens, jwks: Path, clock: Clock) -> None:
    seen, unseen = tokens.mint().encode(), tokens.mint("rules:read").encode()
    assert verifier.verify(seen).client == "test"
    jwks.write_text('{"keys": []}')
    assert verifier.verify(seen).client == "test"
    clock.pass_(auth.KEYS_SECONDS + 1)
    for withdrawn in (seen, unseen):
        with pytest.raises(auth.Problem, match="signature"):
            verifier.verify(withdrawn)


def test_a_new_key_is_known_at_once_and_the_old_ones_tokens_go(
    verifier: auth.Verifier, tokens: Tokens, jwks: Path, clock: Clock
) -> None:
    old = tokens.mint().encode()
    assert verifier.verify(old).client == "test"
    issuer = type(tokens.issuer).generate()
    new = Tokens(issuer, jwks).mint().encode()
    jwks.write_text(issuer.jwks())
    with pytest.raises(auth.Problem, match="signature"):
        verifier.verify(new)  # the keys have been read within this second
    clock.pass_(1)
    assert verifier.verify(new).client == "test"
    with pytest.raises(auth.Problem, match="signature"):
        verifier.verify(old)


def test_a_remembered_token_expires(verifier: auth.Verifier, tokens: Tokens, clock: Clock) -> None:
    token = tokens.mint(lifetime_seconds=30).encode()
    assert verifier.verify(token).client == "test"
    clock.pass_(31)
    with pytest.raises(auth.Problem, match="expired"):
        verifier.verify(token)


def test_the_tokens_seen_last_are_remembered(
    verifier: auth.Verifier, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CACHED_TOKENS", 2)
    checked: list[bytes] = []
    decode = auth.jwt.decode
    monkeypatch.setattr(auth.jwt, "decode", lambda token, *a, **k: checked.append(token) or decode(token, *a, **k))
    one, two, three = (tokens.mint(sub=name).encode() for name in ("one", "two", "three"))
    for token in (one, two, one, three, one, two):
        verifier.verify(token)
    assert checked == [one, two, three, two]


def test_keys_that_cannot_be_read_are_our_fault(verifier: auth.Verifier, tokens: Tokens, jwks: Path) -> None:
    jwks.write_text("{")
    with pytest.raises(OSError, match="not a JWKS document"):
        verifier.verify(tokens.mint().encode())


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": "soon"},
        {"exp": "nan"},
        {"exp": 10**400},
        {"exp": None},
        {"nbf": "later"},
        {"nbf": 10**400},
        {"sub": 7},
        {"shop": ["corner"]},
        {"scope": ["ledger:read"]},
        {"aud": {"accrual": True}},
        {"aud": ["another"]},
        {"iss": None},
    ],
    ids=lambda claims: f"{claims}"[:20],
)
def test_a_claim_that_is_not_what_it_should_be_lets_nobody_in(
    verifier: auth.Verifier, tokens: Tokens, claims: dict[str, Any]
) -> None:
    with pytest.raises(auth.Problem) as refused:
        verifier.verify(tokens.mint(**claims).encode())
    assert refused.value.status == 401


STRANGERS: list[dict[str, Any]] = [
    {**RSAKey.generate_key(2048, auto_kid=True).as_dict(private=False), "use": "sig", "alg": "RS256"},
    {**ECKey.generate_key("P-256", auto_kid=True).as_dict(private=False), "use": "enc"},
    {**OKPKey.generate_key("X25519", auto_kid=True).as_dict(private=False)},
    {"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "AAAA"},
    {"kty": "OKP", "crv": "Ed448", "kid": "other", "x": "AAAA"},
    {"kty": "OKP"},
    {},
]


@pytest.mark.parametrize("stranger", STRANGERS, ids=["RSA", "EC", "X25519", "AKP", "Ed448", "no curve", "nothing"])
def test_keys_of_other_kinds_in_the_issuers_document_are_passed_over(
    verifier: auth.Verifier, tokens: Tokens, jwks: Path, stranger: dict[str, Any]
) -> None:
    """So says RFC 7517, section 5: an issuer that adds a kind of key that we do not know locks nobody out."""
    ours = json.loads(jwks.read_text())["keys"]
    jwks.write_text(json.dumps({"keys": [stranger, *ours]}))
    assert verifier.verify(tokens.mint().encode()).client == "test"


def test_a_secret_in_the_issuers_document_signs_nothing(verifier: auth.Verifier, tokens: Tokens, jwks: Path) -> None:
    secret = OctKey.generate_key(256, auto_kid=True)
    jwks.write_text(json.dumps({"keys": [*json.loads(jwks.read_text())["keys"], secret.as_dict()]}))
    claims = auth.jwt.decode(tokens.mint(), tokens.issuer.key, algorithms=["EdDSA"]).claims
    forged = auth.jwt.encode({"alg": "HS256", "kid": secret.kid}, claims, secret)
    with pytest.raises(auth.Problem, match="signature"):
        verifier.verify(forged.encode())


@pytest.mark.parametrize("document", ["[]", "{}", '{"keys": null}', '{"keys": ["x"]}', '{"keys": [null]}'])
def test_a_document_of_another_shape_is_our_fault_too(
    verifier: auth.Verifier, tokens: Tokens, jwks: Path, document: str
) -> None:
    jwks.write_text(document)
    with pytest.raises(OSError, match="not a JWKS document"):
        verifier.verify(tokens.mint().encode())
