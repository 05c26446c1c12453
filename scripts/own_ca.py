"""An authority of the endpoint's own, for clients that can't have a public one vouch for it.

`python -m scripts.own_ca` makes one for the IP address or the DNS name in LLM_ENDPOINT_ADDRESS, or
for several with spaces between them, and prints it as one line of JSON, `{"certificate": PEM,
"key": PEM}`: the key is a secret. It can vouch for that address, or that name and what is below it,
and for nothing else (RFC 5280, section 4.2.1.10): trusting it for the endpoint is trusting it for
the endpoint alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ADDRESS = "LLM_ENDPOINT_ADDRESS"
"""The environment variable that holds what the authority is for."""
LIFETIME = timedelta(days=3652)
"""Ten years: replacing an authority means handing a new one to every client."""

_CLOCKS_DIFFER = timedelta(hours=1)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_EVERY_ADDRESS = [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


class AddressError(ValueError):
    """What no authority can be made for. The message names the variable and the fix."""


@dataclass(frozen=True)
class Authority:
    """A certificate that signs others, and its private key, both PEM."""

    certificate: str
    key: str = field(repr=False)


def constraints(addresses: str) -> x509.NameConstraints:
    """Return what certificates may be for: `addresses`, IP addresses and DNS names.

    A constraint speaks of its own kind of name alone, so all of a kind that is not among them is
    excluded. Raises `AddressError` for what is neither.
    """
    networks: list[x509.GeneralName] = []
    names: list[x509.GeneralName] = []
    for address in addresses.split():
        try:
            networks.append(x509.IPAddress(ip_network(ip_address(address))))
        except ValueError:
            names.append(_dns_name(address))
    excluded = [*([] if networks else _EVERY_ADDRESS), *([] if names else [x509.DNSName("")])]
    return x509.NameConstraints([*names, *networks], excluded or None)


def _dns_name(address: str) -> x509.DNSName:
    name = address.lower()
    if len(name) > 253 or not _NAME.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
        raise AddressError(
            f"{ADDRESS} is {address!r}; it takes an IP address such as 203.0.113.7, or a DNS name "
            "such as llm.example.com, without scheme, port, brackets or path"
        )
    return x509.DNSName(name)


def make(addresses: str, now: datetime) -> Authority:
    """Return a new authority for `addresses` that begins at `now`. Raises `AddressError`."""
    only = constraints(addresses)
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial number tells a replaced authority from its predecessor in a client's store.
    serial = x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "llm-endpoint"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, f"llm-endpoint CA {serial:x}"[:64]),
        ]
    )
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + LIFETIME)
        # One intermediate: Caddy's, which signs the server's certificates.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_signing(), critical=True)
        .add_extension(only, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(
        certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode("ascii"),
    )


def _signing() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def run(environment: Mapping[str, str]) -> int:
    """Print a new authority for the address in `environment`, and return the exit status."""
    address = environment.get(ADDRESS, "").strip()
    if not address:
        print(
            f"{ADDRESS} is not set, or empty; it takes the endpoint's IP address or DNS name",
            file=sys.stderr,
        )
        return 2
    try:
        authority = make(address, datetime.now(UTC))
    except AddressError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"certificate": authority.certificate, "key": authority.key}))
    return 0


if __name__ == "__main__":
    sys.exit(run(os.environ))
