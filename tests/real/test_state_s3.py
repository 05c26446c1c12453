"""The state in a bucket that speaks S3, on the real engine: moto serves it, scripts/ use it.

The tests run in order on one checkout: each starts from what the one before it left.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import boto3
import checkout as checkouts
import pytest
from botocore.config import Config
from checkout import Checkout, Done
from cutting_proxy import CuttingProxy
from fake_gcs_engine import EngineGcs
from fake_pulumi_cloud import FakePulumiCloud

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

BUCKET = "state-of-a-team"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000", "AWS_SECRET_ACCESS_KEY": "nobody-sees"}
LOCKS = "team/.pulumi/locks/organization/llm-endpoint/local/"
CURRENT = "team/.pulumi/stacks/llm-endpoint/local.json"


class Storage:
    """moto in server mode, and the proxy that its clients go through."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer
        from werkzeug.serving import WSGIRequestHandler

        WSGIRequestHandler.disable_nagle_algorithm = True
        # A line a request would bury what a test that fails says.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.server.start()
        port = self.server.get_host_and_port()[1]
        self.proxy = CuttingProxy(port)
        self.address = f"http://127.0.0.1:{port}"
        self.s3 = self.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        kms = self.client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName="alias/state", TargetKeyId=key)

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}),
        )

    @property
    def url(self) -> str:
        reached = f"endpoint=http://127.0.0.1:{self.proxy.port}&disableSSL=true"
        return f"s3://{BUCKET}/team?region=us-east-1&{reached}&s3ForcePathStyle=true"

    @property
    def key(self) -> str:
        return f"awskms://alias/state?region=us-east-1&endpoint={self.address}&disableSSL=true"

    def names(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found]

    def read(self, name: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def close(self) -> None:
        self.proxy.close()
        self.server.stop()


class Team(Checkout):
    """A checkout whose backend is the bucket."""

    def environment(self, **changed: str) -> dict[str, str]:
        given = {**CREDENTIALS, "HF_ENDPOINT": "http://127.0.0.1:9", **self.backend, **changed}
        return super().environment(**given)

    backend: ClassVar[dict[str, str]] = {}


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    made = Storage()
    yield made
    made.close()


@pytest.fixture(scope="module")
def team(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = checkouts.make(tmp_path_factory.mktemp("state"))
    Team.backend = {"PULUMI_BACKEND_URL": storage.url}
    team = Team(made.root, made.home)
    yield team
    for left in team.servers():
        left.kill()


@pytest.fixture(scope="module")
def first_up(team: Team) -> Done:
    return team.good("scripts/up")


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"it did not come about within {seconds:.0f} s")


def history(team: Team) -> list[dict[str, object]]:
    return json.loads(team.pulumi("stack", "history", "--json", "--page-size", "100").stdout)


def no_changes(team: Team) -> None:
    done = team.run("scripts/pulumi", "preview", "--expect-no-changes", "--stack", "local")
    assert done.status == 0, done.text


def ended(process: subprocess.Popen[str]) -> Done:
    output, _ = process.communicate(timeout=300)
    return Done(process.returncode, output, "")


def test_the_local_stack_comes_up_with_its_state_in_the_bucket(
    team: Team, storage: Storage, first_up: Done
):
    assert "s3://state-of-a-team/team (PULUMI_BACKEND_URL)" in first_up.text
    assert CURRENT in storage.names()
    assert storage.names(LOCKS) == []
    assert len(team.servers()) == 1
    assert not (team.root / ".state" / "backend").exists()


def test_no_secret_is_readable_in_the_bucket(team: Team, storage: Storage, first_up: Done):
    key = str(team.outputs()["api_key"]).encode()
    assert [name for name in storage.names() if key in storage.read(name)] == []


def test_each_update_is_in_the_history(team: Team, storage: Storage, first_up: Done):
    before = len(history(team))
    again = team.good("scripts/up")
    assert re.search(r"\d+ unchanged", again.text)
    assert len(history(team)) == before + 1
    entries = [name for name in storage.names("team/.pulumi/history/") if ".history." in name]
    assert len(entries) == before + 1


def test_a_state_is_exported_and_imported(team: Team, first_up: Done, tmp_path: Path):
    file = tmp_path / "state.json"
    team.pulumi("stack", "export", "--file", str(file))
    assert str(team.outputs()["api_key"]) not in file.read_text(encoding="utf-8")
    team.pulumi("stack", "import", "--file", str(file))
    no_changes(team)


def test_a_second_up_is_told_who_works_on_the_stack(team: Team, storage: Storage, first_up: Done):
    team.configure("slots", "3")
    first = team.start("scripts/up")
    try:
        wait_until(lambda: storage.names(LOCKS))
        second = team.run("scripts/up")
    finally:
        done = ended(first)
    assert done.status == 0, done.text
    assert second.status != 0
    assert re.search(r"another pulumi \(pid \d+, since .*\) is working on the stack", second.text)
    assert storage.names(LOCKS) == []


def test_two_writers_at_once_never_both_write(team: Team, storage: Storage, first_up: Done):
    before = len(history(team))
    words = ("scripts/pulumi", "up", "--yes", "--skip-preview", "--stack", "local")
    both = [ended(one) for one in [team.start(*words), team.start(*words)]]
    good = [one for one in both if one.status == 0]
    for one in both:
        assert one.status == 0 or "the stack is currently locked by 1 lock(s)" in one.text, one.text
    assert len(history(team)) == before + len(good)
    assert storage.names(LOCKS) == []
    no_changes(team)


def test_an_up_that_was_killed_is_repaired_by_the_next(
    team: Team, storage: Storage, first_up: Done
):
    record = team.root / ".state" / "servers" / "local" / "server.json"
    before = record.read_text(encoding="utf-8")
    team.configure("slots", "2")
    killed = team.start("scripts/up")
    wait_until(lambda: not record.exists() or record.read_text(encoding="utf-8") != before)
    checkouts.end_group(killed)
    assert storage.names(LOCKS)
    repaired = team.good("scripts/up")
    assert "Removed the lock of a pulumi that is gone" in repaired.text
    assert storage.names(LOCKS) == []
    no_changes(team)


def test_a_write_that_is_cut_off_is_made_again(team: Team, storage: Storage, first_up: Done):
    size = len(storage.read(CURRENT))
    storage.proxy.reset()
    # Within the first checkpoint that is written, which follows some small requests.
    storage.proxy.requests = [size // 2 + 8000]
    try:
        team.configure("slots", "4")
        team.good("scripts/up")
        assert storage.proxy.cuts == 1
    finally:
        storage.proxy.reset()
    assert json.loads(storage.read(CURRENT))["checkpoint"]["latest"]["resources"]
    no_changes(team)


def test_the_state_moves_to_a_folder_with_another_key_and_its_history(
    team: Team, storage: Storage, first_up: Done, tmp_path_factory: pytest.TempPathFactory
):
    before, key = history(team), str(team.outputs()["api_key"])
    folder = tmp_path_factory.mktemp("moved") / "stäte"
    target = folder.as_uri()
    moved = team.good("scripts/state", "move", "local", target, "--secrets-provider", storage.key)
    assert key not in moved.text
    refused = team.run("scripts/up")
    assert refused.status != 0
    assert "has been moved to" in refused.text
    locked = team.run("scripts/pulumi", "refresh", "--yes", "--stack", "local")
    assert "moved to file://" in locked.text
    Team.backend = {"PULUMI_BACKEND_URL": target}
    assert f"encrypted by {storage.key}" in team.good("scripts/state", "where", "local").stdout
    assert history(team) == before
    assert team.outputs()["api_key"] == key
    assert "encryptionsalt" not in (team.root / "stacks" / "Pulumi.local.yaml").read_text()
    team.good("scripts/up")
    no_changes(team)


def test_a_move_that_was_killed_goes_on_and_comes_back_to_the_bucket(
    team: Team, storage: Storage, first_up: Done
):
    updates, key = len(history(team)), str(team.outputs()["api_key"])
    words = ("scripts/state", "move", "local", storage.url, "--secrets-provider", "passphrase")
    killed = team.start(*words)
    stack_file = team.root / "stacks" / "Pulumi.local.yaml"
    # The engine has written the new provider, and may not have encrypted anything with it yet.
    wait_until(lambda: "secretsprovider" not in stack_file.read_text(encoding="utf-8"))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(timeout=30)
    refused = team.run("scripts/up")
    assert refused.status != 0
    assert "scripts/state move local" in refused.text
    team.good(*words)
    Team.backend = {"PULUMI_BACKEND_URL": storage.url}
    assert len(history(team)) == updates
    assert team.outputs()["api_key"] == key
    team.good("scripts/up")
    no_changes(team)


def test_the_backend_that_pulumi_yaml_names_is_used(team: Team, storage: Storage, first_up: Done):
    project = team.root / "Pulumi.yaml"
    kept = project.read_text(encoding="utf-8")
    Team.backend = {}
    try:
        project.write_text(f"{kept}backend: {{url: '{storage.url}'}}\n", encoding="utf-8")
        assert "(Pulumi.yaml)" in team.good("scripts/state", "where", "local").stdout
        assert re.search(r"\d+ unchanged", team.good("scripts/up").text)
    finally:
        project.write_text(kept, encoding="utf-8")
        Team.backend = {"PULUMI_BACKEND_URL": storage.url}


def test_the_state_moves_to_google_s_storage_and_back(team: Team, storage: Storage, first_up: Done):
    google, before = EngineGcs("state-1a2b"), len(history(team))
    there = "gs://state-1a2b/team"
    reached = {
        "STORAGE_EMULATOR_HOST": f"127.0.0.1:{google.port}",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.a-token",
    }
    try:
        moved = team.good("scripts/state", "move", "local", there, **reached)
        assert "with the passphrase that this checkout has" in moved.stdout
        Team.backend = {**reached, "PULUMI_BACKEND_URL": there}
        assert re.search(r"\d+ unchanged", team.good("scripts/up").text)
        assert not [name for name in google.objects if "/locks/" in name]
        team.good("scripts/state", "move", "local", storage.url)
        Team.backend = {"PULUMI_BACKEND_URL": storage.url}
        assert len(history(team)) == before + 1
        no_changes(team)
    finally:
        google.close()
        Team.backend = {"PULUMI_BACKEND_URL": storage.url}


def test_a_state_moves_to_pulumi_cloud_and_its_history_stays_in_a_folder(
    team: Team, storage: Storage, first_up: Done, tmp_path: Path
):
    spare, file = ("--stack", "spare"), tmp_path / "state.json"
    team.good("scripts/pulumi", "stack", "init", "spare", "--no-select")
    team.good("scripts/pulumi", "config", "set", "--secret", "token", "hush-hush", *spare)
    text = team.pulumi("stack", "export").stdout
    for said in ("urn:pulumi:{}::", "llm-endpoint-{}"):
        text = text.replace(said.format("local"), said.format("spare"))
    file.write_text(text, encoding="utf-8")
    team.good("scripts/pulumi", "stack", "import", "--file", str(file), *spare)
    cloud = FakePulumiCloud("pul-a-token")
    try:
        login = {"PULUMI_ACCESS_TOKEN": cloud.token}
        words = ("scripts/state", "move", "spare", cloud.url, "--secrets-provider", "default")
        moved = team.good(*words, **login)
        there = {**login, "PULUMI_BACKEND_URL": cloud.url}
        shown = team.good("scripts/pulumi", "config", "get", "token", *spare, **there)
        outputs = team.good(
            *("scripts/pulumi", "stack", "output", "--json", "--show-secrets", *spare), **there
        )
        refused = team.run("scripts/state", "move", "spare", storage.url, **there)
    finally:
        cloud.close()
    assert shown.stdout.strip() == "hush-hush"
    assert json.loads(outputs.stdout)["api_key"] == team.outputs()["api_key"]
    assert str(team.outputs()["api_key"]) not in moved.text
    assert (team.root / ".state/archive/.pulumi/stacks/llm-endpoint/spare.json").exists()
    assert "docs/state.md" in refused.text
    locked = team.run("scripts/pulumi", "stack", "rm", "spare", "--force", "--yes")
    assert f"moved to {cloud.url}" in locked.text


def test_down_leaves_nothing_that_runs(team: Team, storage: Storage, first_up: Done):
    team.good("scripts/down", "local", "--remove")
    assert not team.servers()
    assert CURRENT not in storage.names()
    assert storage.names(LOCKS) == []
