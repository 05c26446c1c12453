"""TLS faults told apart, with certificates made for the tests."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_endpoint import FakeEndpoint, Verified, verified

from scripts.verify.outcome import ExitStatus

KEY = "sk-0123456789abcdef"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A CA of the tests' own, its certificate in the file `path`."""

    path: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def context(self, *, address: str = "127.0.0.1", days: int = 2) -> ssl.SSLContext:
        """Return a server's context with a certificate for `address` that ends in `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        certificate = (
            _builder(_name("server"), self.name, key.public_key(), days)
            .add_extension(alternative, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file = self.path.with_name(f"server-{address}-{days}.pem")
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * DAY)
        .not_valid_after(now + days * DAY)
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("the tests' CA")
    certificate = (
        _builder(name, name, key.public_key(), 2)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(path, name, key)


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY, tls=authority.context()) as endpoint:
        yield endpoint


def refused(result: Verified) -> str:
    """Hold `result` to have stopped at once, without sending the key, and return what was seen."""
    assert result.failed.name == "reachable"
    assert result.verdict.exit_status == ExitStatus.FAILED
    return result.failed.seen or ""


def test_an_own_ca_is_trusted_from_its_file(endpoint: FakeEndpoint, authority: Authority):
    result = verified(endpoint, ca_file=authority.path)
    assert result.verdict.exit_status == ExitStatus.PASSED, result.stderr


def test_the_environments_bundle_does_not_win_over_the_file(
    endpoint: FakeEndpoint, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    result = verified(endpoint, ca_file=authority.path)
    assert result.verdict.exit_status == ExitStatus.PASSED, result.stderr


def test_an_unknown_ca_is_said_to_be_that(endpoint: FakeEndpoint):
    result = verified(endpoint, wait_seconds=60)
    assert "from a CA that is not trusted here" in refused(result)
    assert "--ca-file" in (result.failed.next_step or "")
    assert endpoint.exchanges == []


def test_a_certificate_for_another_name_is_said_to_be_that(authority: Authority):
    with FakeEndpoint(key=KEY, tls=authority.context(address="192.0.2.1")) as endpoint:
        seen = refused(verified(endpoint, ca_file=authority.path, wait_seconds=60))
    assert "that is not for 127.0.0.1" in seen


def test_an_expired_certificate_is_said_to_be_that(authority: Authority):
    with FakeEndpoint(key=KEY, tls=authority.context(days=-1)) as endpoint:
        result = verified(endpoint, ca_file=authority.path, wait_seconds=60)
        assert "out of its time" in refused(result)
        assert "clock" in (result.failed.next_step or "")


def test_https_asked_of_a_server_without_tls_is_said_to_be_that():
    with FakeEndpoint() as endpoint:
        url = endpoint.url.replace("http://", "https://")
        result = verified(url, key=KEY, wait_seconds=60)
    assert "no TLS at that port" in refused(result)
    assert "http://" in (result.failed.next_step or "")


def test_http_asked_of_a_server_with_tls_is_cut_off_and_never_ready(endpoint: FakeEndpoint):
    url = endpoint.url.replace("https://", "http://")
    result = verified(url, key=KEY, wait_seconds=0)
    assert result.failed.name == "reachable"
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert endpoint.exchanges == []
