"""Certificates for servers on this machine, by an authority of a test's own."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


def certificates(folder: Path) -> tuple[Path, Path]:
    """An authority's certificate, and a server's key with the certificate for 127.0.0.1 that the authority gave it."""
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    identity = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    begin = datetime.now(UTC) - DAY

    def signed(subject: x509.Name, key: Any, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + 2 * DAY)
        )
        for extension, critical in extensions:
            certificate = certificate.add_extension(extension, critical=critical)
        return certificate.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, shown = folder / "authority.pem", folder / "server.pem"
    signs = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    authority.write_bytes(
        signed(
            name,
            root,
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.KeyUsage(key_cert_sign=True, **signs), True),
            (identity, False),
        )
    )
    secret = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    issued = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity)
    shown.write_bytes(secret + signed(x509.Name([]), own, (here, True), (issued, False)))
    return authority, shown
