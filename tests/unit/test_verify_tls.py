"""TLS faults told apart, with certificates made for the tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_authority import Authority, make_authority
from fake_endpoint import FakeEndpoint, Verified, verified

from scripts.verify.__main__ import main
from scripts.verify.outcome import ExitStatus

KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


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


def test_an_own_ca_is_trusted_from_the_environment_and_its_file_is_gone_afterwards(
    endpoint: FakeEndpoint,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {"MY_KEY": KEY, "MY_CA": authority.path.read_text()}
    arguments = [endpoint.url, "--key-env", "MY_KEY", "--ca-env", "MY_CA", "--quiet"]
    assert main(arguments, environment) == ExitStatus.PASSED, capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
