"""The certificate that the API server shows, and the key of its service accounts."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)
_ADDRESS = ipaddress.ip_address("127.0.0.1")


def make_authority(folder: Path) -> str:
    """Write `ca.pem`, `server.pem`, `server.key` and `accounts.key`; returns the authority's PEM.

    The authority vouches for 127.0.0.1, as strictly as any client asks (RFC 5280).
    """
    own_key, key, accounts = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's control plane")])
    site = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    signer = x509.SubjectKeyIdentifier.from_public_key(own_key.public_key())
    authority = (
        _begun(own, own_key, own)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(signer, critical=False)
        .sign(own_key, hashes.SHA256())
    )
    leaf = (
        _begun(site, key, own)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(_ADDRESS), x509.DNSName("localhost")]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False
        )
        .sign(own_key, hashes.SHA256())
    )
    (folder / "server.key").write_bytes(_private(key))
    (folder / "accounts.key").write_bytes(_private(accounts))
    (folder / "server.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    text = authority.public_bytes(serialization.Encoding.PEM).decode()
    (folder / "ca.pem").write_text(text)
    return text


def _begun(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
