"""`--via`: connecting elsewhere, while names and certificates stay the URL's."""

import json
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_authority import Authority, make_authority
from fake_cluster import FakeCluster
from fake_endpoint import FakeEndpoint

from scripts.verify.__main__ import main
from scripts.verify.bounds import Deadline
from scripts.verify.client import Client
from scripts.verify.options import UsageError, parse_endpoint
from scripts.verify.outcome import ExitStatus, Failure, Unreachable
from scripts.verify.scrub import Scrubber
from scripts.verify.via import Fixed, parse_via

CHECKOUT = Path(__file__).resolve().parents[2]
KEY = "sk-0123456789abcdef"
NAME = "gateway.llm.svc.cluster.local"
URL = f"https://{NAME}"


def server(authority: Authority, name: str = NAME) -> ssl.SSLContext:
    return authority.context(address=name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


def client(authority: Authority, port: int, url: str = URL) -> Client:
    return Client(
        parse_endpoint(url),
        KEY,
        scrubber=Scrubber([KEY]),
        ca_file=authority.path,
        route=Fixed("127.0.0.1", port),
    )


def test_name_certificate_and_host_stay_those_of_the_url(authority: Authority):
    names: list[str | None] = []
    context = server(authority)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with FakeEndpoint(key=KEY, tls=context) as endpoint:
        answer = client(authority, endpoint.port).ask("GET", "/v1/models", Deadline(10))
    assert answer.status == 200
    assert names == [NAME]
    (exchange,) = endpoint.exchanges
    assert exchange.headers["host"] == NAME
    assert exchange.path == "/v1/models"


def test_a_certificate_for_another_name_is_refused(authority: Authority):
    with (
        FakeEndpoint(key=KEY, tls=server(authority, "elsewhere.example.com")) as endpoint,
        pytest.raises(Unreachable, match=f"certificate that is not for {NAME}"),
    ):
        client(authority, endpoint.port).ask("GET", "/v1/models", Deadline(10))
    assert endpoint.exchanges == []


def test_a_port_in_the_url_stays_in_the_host(authority: Authority):
    with FakeEndpoint(key=KEY, tls=server(authority)) as endpoint:
        asked = client(authority, endpoint.port, f"{URL}:8443")
        assert asked.ask("GET", "/v1/models", Deadline(10)).status == 200
    assert endpoint.exchanges[0].headers["host"] == f"{NAME}:8443"


def test_no_proxy_has_a_part_in_it(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with FakeEndpoint(key=KEY, tls=server(authority)) as endpoint:
        asked = client(authority, endpoint.port)
        assert asked.ask("GET", "/v1/models", Deadline(10)).status == 200
    with FakeEndpoint(key=KEY) as plain:
        asked = client(authority, plain.port, "http://plain.example.com")
        assert asked.ask("GET", "/v1/models", Deadline(10)).status == 200
    assert plain.exchanges[0].path == "/v1/models"


def verify(
    arguments: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> SimpleNamespace:
    status = main(arguments, {"THE_KEY": KEY, **environment})
    out, err = capsys.readouterr()
    return SimpleNamespace(status=status, receipt=json.loads(out) if out else None, err=err)


def test_an_endpoint_inside_of_a_cluster_is_verified_through_a_port_forward(
    authority: Authority, capsys: pytest.CaptureFixture[str]
):
    via = "kubernetes:llm/gateway/443"
    with FakeEndpoint(key=KEY, tls=server(authority)) as endpoint, FakeCluster() as cluster:
        cluster.serve("gateway-1", endpoint.port)
        arguments = [URL, "--key-env", "THE_KEY", "--ca-file", str(authority.path), "--via", via]
        done = verify([*arguments, "--wait-seconds", "20"], cluster.environment, capsys)
    assert done.status is ExitStatus.PASSED, done.err
    assert done.receipt["endpoint_url"] == URL
    assert done.receipt["via"] == via
    passed = [check["name"] for check in done.receipt["checks"] if check["status"] == "passed"]
    assert {"refuses_without_key", "chat", "chat_stream", "concurrency"} <= set(passed)


def test_a_service_without_a_ready_pod_is_waited_for_and_then_named(
    authority: Authority, capsys: pytest.CaptureFixture[str]
):
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", 1)
        cluster.put_endpoints({"gateway-1": False})
        arguments = [URL, "--via", "kubernetes:llm/gateway/443", "--wait-seconds", "0.5"]
        done = verify(arguments, cluster.environment, capsys)
    assert done.status is ExitStatus.NEVER_READY
    check = done.receipt["checks"][0]
    assert check["seen"] == (
        "no way into the cluster: no pod behind llm/gateway:443 is ready (not ready yet: gateway-1)"
    )
    assert "kubectl get pods" in check["next"]


def test_credentials_that_a_cluster_refuses_end_the_wait_at_once(
    authority: Authority, capsys: pytest.CaptureFixture[str]
):
    with FakeCluster() as cluster:
        environment = {**cluster.environment, "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.another-one"}
        arguments = [URL, "--via", "kubernetes:llm/gateway/443", "--wait-seconds", "60"]
        done = verify(arguments, environment, capsys)
    assert done.status is ExitStatus.FAILED
    assert "does not accept the credentials" in done.receipt["checks"][0]["seen"]
    assert "ya29.another-one" not in done.err


@pytest.mark.parametrize(
    "source", ["kubernetes:llm/gateway", "kubernetes:llm/gateway/0", "host", "host:99999", "a b:1"]
)
def test_a_way_that_is_none_is_a_usage_error(source: str):
    with pytest.raises(UsageError, match="--via takes kubernetes:NAMESPACE/SERVICE/PORT"):
        parse_via(source)


@pytest.mark.parametrize("source", ["kubernetes:llm/gateway/443", "127.0.0.1:8443", "[::1]:443"])
def test_ways_are_taken_as_they_are(source: str):
    assert parse_via(source) == source


@pytest.mark.parametrize("option", ["--via=kubernetes:llm/gateway/443", "--boot=kubernetes:llm"])
@pytest.mark.parametrize("access", [None, "{}", '{"server": "http://203.0.113.7"}'])
def test_a_cluster_that_is_not_known_is_a_usage_error(
    option: str, access: str | None, capsys: pytest.CaptureFixture[str]
):
    environment = {} if access is None else {"LLM_ENDPOINT_CLUSTER": access}
    done = verify([URL, option], environment, capsys)
    assert done.status is ExitStatus.USAGE
    assert "stack output cluster" in done.err


def test_what_verifies_other_endpoints_loads_no_client_of_kubernetes():
    code = (
        "import sys, scripts.verify.__main__, scripts.verify.run; "
        "print([m for m in sys.modules if m.partition('.')[0] in ('kubernetes', 'google')])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "[]"


def test_redirects_elsewhere_are_refused_on_a_way_too(authority: Authority):
    with FakeEndpoint(key=KEY, tls=server(authority)) as endpoint:
        endpoint.on(
            "GET",
            "/v1/models",
            lambda exchange: exchange.send(307, b"", Location="https://127.0.0.1/v1/models"),
        )
        with pytest.raises(Failure, match="to another origin"):
            client(authority, endpoint.port).ask("GET", "/v1/models", Deadline(10))
