"""Keys, tokens and passwords of this machine's system: made at first start, for its user's eyes, never committed."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from local.settings import LocalSettings
from local.tokens import SERVICE_SCOPES, SERVICE_TOKEN_SECONDS, DevelopmentIssuer


def prepare(settings: LocalSettings) -> None:
    """Make what is missing, and fresh tokens for the services that call others."""
    issuer(settings)
    database_password(settings)
    seal_key_file(settings.keys)
    for service, scopes in SERVICE_SCOPES.items():
        token = issuer(settings).mint(scopes, "*", client=service, lifetime_seconds=SERVICE_TOKEN_SECONDS)
        _write(service_token_file(settings, service), token)


def issuer(settings: LocalSettings) -> DevelopmentIssuer:
    """Who signs tokens here."""
    return DevelopmentIssuer.kept_in(settings.keys)


def jwks_file(settings: LocalSettings) -> Path:
    """The public half, which services and the gateway read."""
    return settings.keys / "jwks.json"


def service_token_file(settings: LocalSettings, service: str) -> Path:
    """The token with which a service calls the ledger."""
    return settings.keys / f"{service}.token"


def database_password(settings: LocalSettings) -> str:
    """The password of all services' roles in this machine's database server."""
    file = settings.keys / "database-password"
    if not file.exists():
        _write(file, secrets.token_hex(16))
    return file.read_text().strip()


def kafka_password(settings: LocalSettings, user: str) -> str:
    """The password of a service, or of the broker's own `admin`, in this machine's Kafka."""
    file = settings.keys / f"kafka-{user}"
    if not file.exists():
        _write(file, secrets.token_hex(16))
    return file.read_text().strip()


def seal_key_file(folder: Path) -> Path:
    """The key with which the ledger signs seals, made at first use; the public half lies beside it."""
    private = folder / "seal-key.pem"
    if not private.exists():
        made = Ed25519PrivateKey.generate()
        public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write(folder / "seal-key-public.pem", public.decode())
        _write(private, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    return private


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    new.replace(file)
