"""A certificate authority that the guest trusts, for the internet's sites."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """An authority that lives as long as the test, and one certificate for `names`."""

    def __init__(self, names: Iterable[str], folder: Path) -> None:
        own_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's internet")])
        issued = _signed(own, own_key, own, own_key, [])
        site = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a site of it")])
        leaf = _signed(site, key, own, own_key, sorted(names))
        self.certificate = issued.public_bytes(serialization.Encoding.PEM).decode()
        chain = folder / "internet.pem"
        chain.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: list[str],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        built = built.add_extension(alternatives, critical=False)
    return built.sign(issuer_key, hashes.SHA256())
