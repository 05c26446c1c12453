"""Google's REST APIs and credentials: asked politely, and with the token in no message."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_google_apis import TOKEN, Asked, FakeApis, refusal

from scripts.gcp import credentials, rest
from scripts.gcp.credentials import CredentialsError, GivenToken, GoogleAuth, find
from scripts.gcp.instances import last_stop
from scripts.gcp.rest import BILLING, COMPUTE, ApiError, GoogleApi, from_environment


@pytest.fixture
def google() -> Iterator[FakeApis]:
    with FakeApis() as google:
        yield google


def api(google: FakeApis, pauses: list[float] | None = None) -> GoogleApi:
    pause = (pauses if pauses is not None else []).append
    return GoogleApi(GivenToken(TOKEN), google.url, pause=pause)


def test_the_token_goes_by_header_and_the_query_as_it_is(google: FakeApis):
    google.on("compute/v1/projects/p/x", (200, {"name": "x"}))
    assert api(google).get(COMPUTE, "projects/p/x", port="1") == {"name": "x"}
    (asked,) = google.asked
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.query == {"port": ["1"]}
    assert "x-goog-user-project" not in asked.headers


def test_apis_are_google_s_own_unless_the_environment_says_otherwise():
    real = GoogleApi(GivenToken(TOKEN))
    assert real._url(COMPUTE, "projects/p") == (
        "https://compute.googleapis.com/compute/v1/projects/p"
    )
    assert real._url(BILLING, "projects/p/billingInfo") == (
        "https://cloudbilling.googleapis.com/v1/projects/p/billingInfo"
    )


@pytest.mark.parametrize("prefix", ["http://203.0.113.7", "ftp://127.0.0.1", "127.0.0.1:80"])
def test_the_token_is_not_sent_in_the_clear_to_another_machine(prefix: str):
    with pytest.raises(ValueError, match="LLM_ENDPOINT_GOOGLE_API must be") as caught:
        from_environment(GivenToken(TOKEN), {"LLM_ENDPOINT_GOOGLE_API": prefix})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_api_is_asked_again_with_growing_pauses(google: FakeApis, status: int):
    answers = iter([refusal(status, "busy"), refusal(status, "busy"), (200, {"ok": True})])
    google.on("compute/v1/x", lambda _: next(answers))
    pauses: list[float] = []
    assert api(google, pauses).get(COMPUTE, "x") == {"ok": True}
    assert pauses == [0.5, 1.0]


def test_a_busy_api_is_given_up_in_the_end(google: FakeApis):
    google.on("compute/v1/x", refusal(503, "Try again later"))
    with pytest.raises(ApiError, match="HTTP 503: Try again later") as caught:
        api(google).get(COMPUTE, "x")
    assert caught.value.passing
    assert len(google.asked) == rest.MAX_ATTEMPTS


def test_a_refusal_is_not_asked_again_and_gives_google_s_reason(google: FakeApis):
    google.on("compute/v1/x", refusal(403, "API not enabled", "SERVICE_DISABLED"))
    with pytest.raises(ApiError, match="HTTP 403: API not enabled") as caught:
        api(google).get(COMPUTE, "x")
    assert (caught.value.status, caught.value.reason) == (403, "SERVICE_DISABLED")
    assert not caught.value.passing
    assert len(google.asked) == 1


def test_an_older_form_of_refusal_gives_its_reason_too(google: FakeApis):
    content = {"error": {"message": "no", "errors": [{"reason": "notFound"}]}}
    google.on("compute/v1/x", (404, content))
    with pytest.raises(ApiError) as caught:
        api(google).get(COMPUTE, "x")
    assert caught.value.reason == "notFound"


def test_an_answer_that_is_no_json_is_named_by_its_status(google: FakeApis):
    google.on("compute/v1/x", (400, b"<html>"))
    with pytest.raises(ApiError, match="HTTP 400: Bad Request"):
        api(google).get(COMPUTE, "x")


def test_an_api_that_can_t_be_reached_says_so_without_the_token():
    unreachable = GoogleApi(GivenToken(TOKEN), "http://127.0.0.1:9", attempts=1)
    with pytest.raises(ApiError, match=r"compute.googleapis.com can't be reached") as caught:
        unreachable.get(COMPUTE, "x")
    assert TOKEN not in str(caught.value)
    assert caught.value.status == 0


def test_a_login_s_quota_project_pays_for_the_requests(google: FakeApis):
    class Login:
        valid = True
        token = TOKEN
        quota_project_id = "payer"

    google.on("compute/v1/x", (200, {}))
    GoogleApi(GoogleAuth(Login(), "a login"), google.url).get(COMPUTE, "x")
    assert google.asked[0].headers["x-goog-user-project"] == "payer"


def test_a_given_token_comes_first_and_is_not_shown(tmp_path: Path):
    found = find({"GOOGLE_OAUTH_ACCESS_TOKEN": f"{TOKEN}\n", "GOOGLE_CREDENTIALS": "x"})
    assert found.token() == TOKEN
    assert found.source == "GOOGLE_OAUTH_ACCESS_TOKEN"
    assert TOKEN not in repr(found)


def test_no_credentials_at_all_name_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr(
        "google.auth._default._get_gcloud_sdk_credentials", lambda **_: (None, None)
    )
    with pytest.raises(CredentialsError) as caught:
        find({})
    assert caught.value.next_step == "gcloud auth application-default login"
    assert "no Google credentials on this machine" in caught.value.problem


def test_a_metadata_server_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr(credentials, "_METADATA_SECONDS", 0.05)
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(CredentialsError, match="no metadata server"):
            find({})
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_credentials_in_a_variable_may_be_a_path_or_json(tmp_path: Path):
    user = {
        "type": "authorized_user",
        "client_id": "id",
        "client_secret": "the-client-secret",
        "refresh_token": "the-refresh-token",
    }
    file = tmp_path / "key.json"
    file.write_text(json.dumps(user))
    for named in (str(file), json.dumps(user)):
        assert find({"GOOGLE_CREDENTIALS": named}).source == "GOOGLE_CREDENTIALS"


@pytest.mark.parametrize("named", ["{the-secret", '{"type": "nothing"}', "/no/such/file"])
def test_credentials_in_a_variable_that_are_none_are_refused_and_not_repeated(named: str):
    with pytest.raises(CredentialsError, match="GOOGLE_CREDENTIALS: ") as caught:
        find({"GOOGLE_CREDENTIALS": named})
    assert "the-secret" not in str(caught.value)


def test_a_login_that_has_run_out_is_said_to_be_that():
    from google.auth.exceptions import RefreshError

    class Expired:
        valid = False
        token = None
        quota_project_id = None

        def refresh(self, request: object) -> None:
            raise RefreshError("('invalid_grant: Bad Request', …)\nwhole answer")

    with pytest.raises(CredentialsError, match=r"are not accepted: .*invalid_grant") as caught:
        GoogleAuth(Expired(), "a login").token()
    assert "whole answer" not in str(caught.value)
    assert credentials.LOGIN in str(caught.value)


def test_without_google_auth_the_right_environment_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(CredentialsError, match="scripts/doctor cpu-vm makes it"):
        find({})


def test_the_last_stop_of_a_machine_is_told_where_it_can_be(google: FakeApis):
    path = "compute/v1/projects/p/zones/z/instances/vm"

    def stop(environment: dict[str, str]) -> str:
        return last_stop("p", "z", "vm", environment)

    assert stop(google.environment) == "", "there is no such machine"
    google.on(path, (200, {"status": "RUNNING"}))
    assert stop(google.environment) == ""
    google.on(path, (200, {"lastStopTimestamp": "2026-11-21T06:00:00.000-08:00"}))
    assert stop(google.environment) == "2026-11-21T06:00:00.000-08:00"
    assert stop({"LLM_ENDPOINT_GOOGLE_API": google.url, "GOOGLE_CREDENTIALS": "/none"}) == ""
    google.on(path, refusal(503, "busy"))
    asked = len(google.asked)
    assert stop(google.environment) == ""
    assert len(google.asked) == asked + 1


def test_a_post_carries_its_body(google: FakeApis):
    def echo(asked: Asked) -> tuple[int, object]:
        return 200, {"method": asked.method, "body": asked.body}

    google.on("cloudbilling/v1/x:test", echo)
    seen = api(google).post(BILLING, "x:test", {"permissions": ["a"]})
    assert seen == {"method": "POST", "body": {"permissions": ["a"]}}


def test_a_local_stack_loads_nothing_of_google():
    code = (
        "import sys, stacks.local, scripts.verify.run, scripts.verify.__main__; "
        "print([m for m in sys.modules if m.startswith(('scripts.gcp', 'google.auth'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
