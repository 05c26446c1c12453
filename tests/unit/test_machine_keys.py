"""Keys and authority: read by the machine's identity, written as hashes, told nowhere."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_google import ADDRESS, TOKEN, FakeGoogle, Fault
from fake_world import FakeMachine, fake_machine

from machine.commands import Result
from machine.config import Config
from machine.errors import StageError, Temporary
from machine.google import CloudError, Google, crc32c
from machine.keys import again, read_keys
from machine.stages.keys import run
from machine.world import World

KEY, OTHER_KEY = "sk-the-first-key", "sk-alices-key"
AUTHORITY = {
    "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "key": "-----BEGIN PRIVATE KEY-----\nprivate-part\n-----END PRIVATE KEY-----\n",
}
SECRETS = (KEY, OTHER_KEY, "private-part", TOKEN)


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    made = FakeGoogle()
    made.put("llm-endpoint-keys", {"default": KEY})
    made.put("llm-endpoint-ca", AUTHORITY)
    yield made
    made.close()


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return fake_machine(tmp_path)


@pytest.fixture
def world(machine: FakeMachine, google: FakeGoogle) -> World:
    return machine.at(google.client())


@pytest.fixture
def config(machine: FakeMachine) -> Config:
    return machine.config()


def hashes(machine: FakeMachine) -> dict[str, str]:
    return json.loads(machine.paths.keys.read_text())


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_the_stage_writes_hashes_authority_and_host(
    machine: FakeMachine, world: World, config: Config
):
    assert run(config, world) == f"1 key (default) for {ADDRESS}"
    assert hashes(machine) == {"default": hashed(KEY)}
    assert machine.paths.host.read_text() == f"LLM_ENDPOINT_HOST={ADDRESS}\n"
    for name, text in (("certificate", AUTHORITY["certificate"]), ("key", AUTHORITY["key"])):
        file = machine.paths.ca / f"{name}.pem"
        assert file.read_text() == text
        assert file.stat().st_mode & 0o777 == 0o600
    assert machine.paths.ca.stat().st_mode & 0o777 == 0o700


def test_a_domain_is_the_host_and_acme_needs_no_authority(
    machine: FakeMachine, world: World, google: FakeGoogle
):
    google.address = None
    config = machine.config(tls="acme", domain="llm.example.org", ca_secret=None)
    run(config, world)
    assert machine.paths.host.read_text() == "LLM_ENDPOINT_HOST=llm.example.org\n"
    assert not machine.paths.ca.exists()


def test_a_machine_without_an_address_says_so(config: Config, world: World, google: FakeGoogle):
    google.address = None
    with pytest.raises(Temporary, match="no external address"):
        run(config, world)


def test_a_permission_that_has_yet_to_spread_is_waited_for(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    google.faults = [Fault("keys/versions", 403, "Permission denied") for _ in range(10)]
    run(config, world)
    assert machine.clock.now == 1000.0 + 50
    assert any("answered 403: Permission denied; asking again" in line for line in machine.said)


def test_after_two_minutes_the_stage_gives_up_for_now_and_says_which_role(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    google.faults = [Fault("keys/versions", 403, "Permission denied") for _ in range(100)]
    with pytest.raises(Temporary, match=r"secretmanager\.secretAccessor on llm-endpoint-keys"):
        run(config, world)
    assert machine.clock.now <= 1000.0 + 120


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (b"", "not a JSON object with texts"),
        (b"[1]", "not a JSON object with texts"),
        (b'{"default": 7}', "not a JSON object with texts"),
        (b'{"default": ""}', "not a JSON object with texts"),
        (b"\xff\xfe", "not a JSON object with texts"),
        (b"{}", "holds no key"),
    ],
)
def test_a_secret_of_another_form_is_said_without_its_text(secret: bytes, message: str):
    with pytest.raises(Temporary, match=message) as caught:
        read_keys(secret, "llm-endpoint-keys")
    assert "llm-endpoint-keys" in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_authority_of_another_form_is_said_without_its_text(
    config: Config, world: World, google: FakeGoogle
):
    google.put("llm-endpoint-ca", {"certificate": "private-part", "key": "private-part"})
    with pytest.raises(Temporary, match="no certificate and key in PEM") as caught:
        run(config, world)
    assert "private-part" not in str(caught.value)


def test_keys_that_were_added_hold_and_those_that_are_gone_do_not(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    run(config, world)
    google.put("llm-endpoint-keys", {"alice": OTHER_KEY})
    assert again(config, world) == "keys are now: alice"
    assert hashes(machine) == {"alice": hashed(OTHER_KEY)}
    written = machine.paths.keys.stat()
    assert again(config, world) is None
    assert machine.paths.keys.stat().st_ino == written.st_ino


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_read_that_fails_leaves_the_keys_as_they_were(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle, status: int
):
    run(config, world)
    google.faults = [Fault("keys/versions", status, "no")]
    line = again(config, world)
    assert line is not None
    assert line.startswith("keys stay as they were: ")
    assert "\n" not in line
    assert hashes(machine) == {"default": hashed(KEY)}


def test_an_unreadable_authority_keeps_the_keys_too(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    run(config, world)
    google.put("llm-endpoint-keys", {"alice": OTHER_KEY})
    google.faults = [Fault("ca/versions", 500, "no")]
    assert (again(config, world) or "").startswith("keys stay as they were")
    assert hashes(machine) == {"default": hashed(KEY)}


def test_a_new_authority_restarts_caddy_alone(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    run(config, world)
    assert machine.run.commands == []
    google.put("llm-endpoint-ca", {**AUTHORITY, "key": "-----BEGIN PRIVATE KEY-----\nnew\n"})
    assert (
        again(config, world) == "the certificate authority is another one now: Caddy was restarted"
    )
    assert machine.run.lines() == ["systemctl try-restart llm-endpoint-caddy-run.service"]
    assert (machine.paths.ca / "key.pem").read_text() == "-----BEGIN PRIVATE KEY-----\nnew\n"
    assert again(config, world) is None


def test_a_restart_that_failed_is_tried_again_the_next_minute(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    run(config, world)
    google.put("llm-endpoint-ca", {**AUTHORITY, "key": "-----BEGIN PRIVATE KEY-----\nnew\n"})
    machine.run.answers = {"try-restart": Result(1, "", "Job failed")}
    assert "restarting Caddy failed" in (again(config, world) or "")
    machine.run.answers = {}
    assert "Caddy was restarted" in (again(config, world) or "")
    assert again(config, world) is None
    assert len(machine.run.commands) == 2


def test_no_secret_is_told_or_in_the_hashes(
    machine: FakeMachine, world: World, config: Config, google: FakeGoogle
):
    google.put("llm-endpoint-keys", {"default": KEY, "alice": OTHER_KEY})
    google.faults = [Fault("keys/versions", 403, "Permission denied")]
    told = [run(config, world), *machine.said]
    machine.run.answers = {"try-restart": Result(1, errors="no such unit")}
    google.put("llm-endpoint-ca", {**AUTHORITY, "key": "-----BEGIN PRIVATE KEY-----\nx"})
    told.append(again(config, world) or "")
    told.append(machine.paths.keys.read_text())
    told += [part for command in machine.run.commands for part in command.words]
    assert not [secret for secret in SECRETS if secret in "\n".join(told)]


def test_a_checksum_that_does_not_fit_is_refused(google: FakeGoogle):
    body = {"payload": {"data": "e30=", "dataCrc32c": "1"}}
    google.faults = [Fault("keys/versions", 200, body=json.dumps(body).encode())]
    with pytest.raises(CloudError, match="checksum"):
        google.client().secret("llm-endpoint-keys")


def test_a_payload_without_a_checksum_is_taken(google: FakeGoogle):
    google.checksums = False
    assert json.loads(google.client().secret("llm-endpoint-keys")) == {"default": KEY}


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"payload": {}}', b'{"payload": []}'])
def test_an_answer_of_another_form_is_an_error_of_the_cloud(google: FakeGoogle, body: bytes):
    google.faults = [Fault("keys/versions", 200, body=body)]
    with pytest.raises(CloudError):
        google.client().secret("llm-endpoint-keys")


def test_the_token_is_not_taken_along_on_a_redirect(google: FakeGoogle):
    elsewhere = FakeGoogle()
    try:
        place = {"Location": f"{elsewhere.url}/stolen"}
        google.faults = [Fault("keys/versions", 302, headers=place)]
        with pytest.raises(CloudError, match="302"):
            google.client().secret("llm-endpoint-keys")
        assert elsewhere.seen == []
    finally:
        elsewhere.close()


def test_a_server_that_is_not_the_metadata_server_gets_no_further(google: FakeGoogle):
    google.flavour = False
    with pytest.raises(CloudError, match="another server"):
        google.client().secret("llm-endpoint-keys")


def test_the_metadata_server_is_not_asked_through_a_proxy(google: FakeGoogle, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert google.client().external_address() == ADDRESS


def test_a_cloud_that_can_not_be_reached_is_said(google: FakeGoogle):
    url = "http://127.0.0.1:9"
    with pytest.raises(StageError, match="the metadata server can't be reached: connection ref"):
        Google(url, url, url, 1.0).secret("x")


def test_the_checksum_is_castagnolis():
    # RFC 3720 appendix B.4, and the check value of CRC-32/ISCSI.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"123456789") == 0xE3069283
