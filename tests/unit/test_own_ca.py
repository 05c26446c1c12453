"""The authority of the endpoint's own, as `python -m scripts.own_ca` makes it."""

import json
import os
import ssl
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts import own_ca

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BOTH = "llm.example.com localhost 127.0.0.1"


def certificate(address: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(own_ca.make(address, NOW).certificate.encode())


def constraints(address: str) -> x509.NameConstraints:
    extension = certificate(address).extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.critical
    return extension.value


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.7", "203.0.113.7/32"), ("2001:db8::7", "2001:db8::7/128")],
)
def test_an_authority_for_an_address_vouches_for_no_other_and_for_no_name(address, network):
    only = constraints(address)
    assert only.permitted_subtrees == [x509.IPAddress(ip_network(network))]
    # The empty name is what every DNS name is below.
    assert only.excluded_subtrees == [x509.DNSName("")]


def test_an_authority_for_a_name_vouches_for_no_other_and_for_no_address():
    only = constraints("LLM.example.com")
    assert only.permitted_subtrees == [x509.DNSName("llm.example.com")]
    assert only.excluded_subtrees == [
        x509.IPAddress(ip_network("0.0.0.0/0")),
        x509.IPAddress(ip_network("::/0")),
    ]


def test_an_authority_signs_one_intermediate_and_nothing_but_certificates():
    made = certificate("203.0.113.7")
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 1)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)
    made.verify_directly_issued_by(made)


def test_an_authority_lasts_ten_years_for_clocks_that_differ_too():
    made = certificate("203.0.113.7")
    assert made.not_valid_before_utc < NOW
    assert made.not_valid_after_utc - NOW >= timedelta(days=3650)


def test_two_authorities_have_two_keys_and_two_names():
    first, second = certificate("203.0.113.7"), certificate("203.0.113.7")
    assert first.public_key() != second.public_key()
    assert first.subject != second.subject


@pytest.mark.parametrize(
    "address",
    [
        *("https://llm.example.com", "llm.example.com:443", "10.0.0.0/8", "1.2.3", "-x.com"),
        *("a..b", "*.example.com", "[::1]", "llm exa_mple", "x" * 64 + ".com", "ключ.example"),
    ],
)
def test_what_is_neither_an_address_nor_a_name_is_refused_with_the_fix(address: str):
    with pytest.raises(own_ca.AddressError, match=r"LLM_ENDPOINT_ADDRESS is .*203\.0\.113\.7"):
        own_ca.make(address, NOW)


def served(authority: own_ca.Authority, folder: Path, name: x509.GeneralName) -> ssl.SSLContext:
    """Return a server's context with a certificate for `name` that `authority` signed."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    signer = serialization.load_pem_private_key(authority.key.encode(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_before_utc + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "server.pem"
    file.write_bytes(leaf.public_bytes(pem) + key.private_bytes(pem, form, open_))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Have the two greet each other in memory. Raises `ssl.SSLCertVerificationError`."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    )
    for _ in range(4):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()


@pytest.mark.parametrize(
    ("address", "name", "fault"),
    [
        ("127.0.0.1", "127.0.0.1", None),
        ("::1", "::1", None),
        ("llm.example.com", "llm.example.com", None),
        ("127.0.0.1", "127.0.0.2", "permitted subtree violation"),
        ("127.0.0.1", "::1", "permitted subtree violation"),
        ("127.0.0.1", "llm.example.com", "excluded subtree violation"),
        ("llm.example.com", "example.com", "permitted subtree violation"),
        ("llm.example.com", "bank.example", "permitted subtree violation"),
        ("llm.example.com", "127.0.0.1", "excluded subtree violation"),
        (BOTH, "llm.example.com", None),
        (BOTH, "localhost", None),
        (BOTH, "127.0.0.1", None),
        (BOTH, "127.0.0.2", "permitted subtree violation"),
        (BOTH, "bank.example", "permitted subtree violation"),
        (BOTH, "::1", "permitted subtree violation"),
    ],
)
def test_clients_take_what_the_authority_is_for_and_nothing_else(
    tmp_path: Path, address: str, name: str, fault: str | None
):
    authority = own_ca.make(address, datetime.now(UTC))
    try:
        general: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        general = x509.DNSName(name)
    client = ssl.create_default_context(cadata=authority.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = served(authority, tmp_path, general)
    if fault is None:
        shake_hands(server, client, name)
        return
    with pytest.raises(ssl.SSLCertVerificationError, match=fault):
        shake_hands(server, client, name)


def run(address: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != own_ca.ADDRESS}
    given = {} if address is None else {own_ca.ADDRESS: address}
    return subprocess.run(
        [sys.executable, "-m", "scripts.own_ca"],
        env={**environment, **given},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_one_line_of_json_and_nothing_else():
    done = run("203.0.113.7")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    content = json.loads(done.stdout)
    assert set(content) == {"certificate", "key"}
    made = x509.load_pem_x509_certificate(content["certificate"].encode())
    key = serialization.load_pem_private_key(content["key"].encode(), None)
    assert made.public_key() == key.public_key()


@pytest.mark.parametrize("address", [None, " ", "no/name"])
def test_the_command_says_what_it_takes(address: str | None):
    done = run(address)
    assert (done.returncode, done.stdout) == (2, "")
    assert "LLM_ENDPOINT_ADDRESS" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_is_not_shown_by_accident():
    assert "PRIVATE" not in repr(own_ca.make("203.0.113.7", NOW))
