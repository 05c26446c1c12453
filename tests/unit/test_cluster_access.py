"""A cluster's access, the login for it, and what is asked of its API."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_authority import make_authority
from fake_cluster import CORE, TOKEN, FakeCluster

from components.targets.kubernetes.access import ClusterAccess
from scripts.gcp.credentials import GoogleAuth
from scripts.gke import api as api_module
from scripts.gke import credential
from scripts.gke.access import AccessError, from_environment, parse
from scripts.gke.api import ClusterApi, ClusterError

CHECKOUT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_an_access_is_read_as_it_was_written():
    access = ClusterAccess("https://gke-1.europe-west4.gke.goog", None)
    assert from_environment({"LLM_ENDPOINT_CLUSTER": access.as_json()}) == access


@pytest.mark.parametrize(
    "server",
    [
        "",
        "gke.goog",
        "http://203.0.113.7",
        "https://user@host",
        "https://h/?q=1",
        "ftp://h",
        "://[",
    ],
)
def test_a_token_goes_to_no_server_in_the_clear(server: str):
    with pytest.raises(AccessError, match="the access token goes there"):
        parse(json.dumps({"server": server, "certificate_authority": None}))


def test_an_access_that_is_not_set_or_broken_says_where_it_is_found():
    for environment in ({}, {"LLM_ENDPOINT_CLUSTER": "nonsense"}):
        with pytest.raises(AccessError, match="scripts/pulumi stack output cluster"):
            from_environment(environment)


def test_the_api_is_asked_with_the_token_and_answers_json():
    with FakeCluster(objects={f"{CORE}/pods": {"items": []}}) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        assert api.get(f"{CORE}/pods", labelSelector="a=b") == {"items": []}
    assert cluster.tokens == {f"Bearer {TOKEN}"}


class Aging:
    """google-auth's credentials whose token ends with each use."""

    valid = False
    token: str | None = None
    expiry = datetime(2026, 11, 21, 12, 30)
    quota_project_id = None
    count = 0

    def refresh(self, request: object) -> None:
        self.count += 1
        self.token = f"token-{self.count}"


def test_an_old_token_is_made_anew_for_the_next_request(monkeypatch: pytest.MonkeyPatch):
    aging = Aging()
    monkeypatch.setattr(api_module, "find", lambda _: GoogleAuth(aging, "a test"))
    with FakeCluster() as cluster:
        api = ClusterApi(cluster.access, {})
        for _ in range(2):
            with pytest.raises(ClusterError):
                api.get("/version")
    assert cluster.tokens == {"Bearer token-1", "Bearer token-2"}


@pytest.mark.parametrize(
    ("status", "message", "passing"),
    [
        (401, "does not accept the credentials", False),
        (403, "roles/container.developer", False),
        (404, "HTTP 404: not now", False),
        (503, "HTTP 503: not now", True),
    ],
)
def test_refusals_say_what_they_take(status: int, message: str, passing: bool):
    with FakeCluster(refusals={"/version": [status]}) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        with pytest.raises(ClusterError, match=message) as caught:
            api.get("/version")
    assert caught.value.passing is passing
    assert caught.value.status == status
    assert TOKEN not in str(caught.value)


def test_a_server_that_is_not_there_is_one_that_may_come():
    with FakeCluster() as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
    with pytest.raises(ClusterError, match="can't be reached") as caught:
        api.get("/version")
    assert caught.value.passing
    assert TOKEN not in str(caught.value)


def test_proxies_have_no_part_in_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FakeCluster(objects={"/version": {"major": "1"}}) as cluster:
        assert ClusterApi(cluster.access, cluster.environment).get("/version") == {"major": "1"}


def test_without_an_authority_the_machines_own_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    authority = make_authority(tmp_path)
    with FakeCluster(tls=authority.context(), objects={"/version": {}}) as cluster:
        with pytest.raises(ClusterError, match="not trusted") as caught:
            ClusterApi(cluster.access, cluster.environment).get("/version")
        assert not caught.value.passing
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        assert ClusterApi(cluster.access, cluster.environment).get("/version") == {}


def told(text: str) -> dict[str, str]:
    value = json.loads(text)
    assert value["apiVersion"] == "client.authentication.k8s.io/v1"
    assert value["kind"] == "ExecCredential"
    return value["status"]


def test_a_given_token_is_asked_for_again_soon():
    status = told(credential.credential({"GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN}, lambda: NOW))
    assert status == {"token": TOKEN, "expirationTimestamp": "2026-11-21T12:05:00Z"}


def test_a_token_that_ends_is_given_up_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(credential, "find", lambda _: GoogleAuth(Aging(), "a test"))
    status = told(credential.credential({}, lambda: NOW))
    ends = datetime.fromisoformat(status["expirationTimestamp"])
    assert ends == datetime(2026, 11, 21, 12, 30, tzinfo=UTC) - timedelta(minutes=1)


def test_the_login_works_from_the_checkout_by_a_relative_path(tmp_path: Path):
    interpreter = os.path.relpath(sys.executable, CHECKOUT)
    command = [interpreter, "-m", "scripts.gke.credential"]
    environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**environment, "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert told(done.stdout)["token"] == TOKEN
    assert done.stderr == ""
    none = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**environment, "GOOGLE_CREDENTIALS": "/no/such/file"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert none.returncode == 1
    assert none.stdout == ""
    assert "next: gcloud auth application-default login" in none.stderr
