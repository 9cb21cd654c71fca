"""The keys that sign seals: Ed25519, each in a file of its own as PEM (PKCS 8), as `openssl genpkey` makes them."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key


class SealKeyUnusable(Exception):
    """A key file that is not there, cannot be read, or holds something else."""


def signed_by(public: bytes, signature: bytes, content: bytes) -> bool:
    """Whether the key signed it."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except InvalidSignature:
        return False
    return True


class SealKeyUnknown(Exception):
    """A lane's last seal names another key to follow than the one that is given."""


@dataclass(frozen=True, slots=True)
class SealKey:
    """A private key and its public half."""

    private: Ed25519PrivateKey
    public: bytes
    """32 bytes, as seals name it."""

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> "SealKey":
        """The key with its public half."""
        return cls(private, private.public_key().public_bytes_raw())

    @classmethod
    def read(cls, file: Path) -> "SealKey":
        """The key of a file."""
        try:
            private = load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SealKeyUnusable(f"{file}: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SealKeyUnusable(f"{file}: not an Ed25519 key")
        return cls.of(private)

    def sign(self, content: bytes) -> bytes:
        """64 bytes."""
        return self.private.sign(content)


@dataclass(frozen=True, slots=True)
class Keyring:
    """What a sealer may sign with."""

    current: SealKey
    previous: SealKey | None = None
    """The key before, as long as there are lanes that it has to hand over."""

    @classmethod
    def read(cls, current: Path, previous: Path | None) -> "Keyring":
        """The keys of files."""
        return cls(SealKey.read(current), None if previous is None else SealKey.read(previous))

    def for_successor(self, public: bytes) -> SealKey:
        """The key that a lane's last seal says must sign the next one."""
        for key in (self.current, self.previous):
            if key is not None and key.public == public:
                return key
        raise SealKeyUnknown(
            f"the last seal was to be followed by one of the key {public.hex()}, which is not given; give it as the"
            " previous key, so that it can hand over"
        )
