"""`pulumi up --stack gke-ovms` from nothing to a verified endpoint, and away again.

The real Pulumi engine runs the program over an emulated cloud, whose cluster is a real control
plane: what the program sends is applied there, and the pods' own command lines run as processes,
with a stand-in for OpenVINO Model Server alone. The tests run in order on one stack.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from cluster.api import holds
from fake_google_apis import TOKEN
from pods.deployed import CRON_JOB, JOB, STATEFUL_SET
from pods.stack import ADDRESS, CLIENT, NAMESPACE, OTHER_CLIENT, STACK, Stack, deployed_stack

from machine.pod.workloads import ANNOTATION

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="pods' namespaces are made by root"),
]

URL = f"https://gateway.{NAMESPACE}.svc.cluster.local"
VOLUMES = {"models-chat-0", "models-embeddings-0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with deployed_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def up(made: Stack) -> Stack:
    made.up()
    return made


def test_up_ends_with_an_endpoint_that_has_answered_by_a_port_forward(up: Stack):
    outputs = up.outputs()
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == URL
    receipt = outputs["verification"]
    assert receipt["status"] == "passed"
    assert receipt["via"] == f"kubernetes:{NAMESPACE}/gateway/443"
    passed = {check["name"] for check in receipt["checks"] if check["status"] == "passed"}
    assert {"chat_stream", "embeddings", "tool_call", "json_schema"} <= passed
    assert up.runner.problems == []


def test_containers_started_in_their_order_and_once(up: Stack):
    by_pod: dict[str, list[str]] = {}
    for pod, container in up.runner.started:
        # The job comes whenever its time is.
        if container == "park":
            continue
        by_pod.setdefault(pod.partition("-")[0], []).append(container)
    assert by_pod == {
        "chat": ["model", "server"],
        "embeddings": ["model", "server"],
        "gateway": ["packages", "gateway", "caddy"],
    }


def test_no_secret_is_in_any_object_but_secrets_nor_in_a_log(up: Stack):
    key = up.outputs()["api_key"]
    shown = up.runner.logs()
    objects = json.dumps(
        [
            up.api.list(kind, NAMESPACE)
            for kind in ("v1/ConfigMap", "v1/Pod", STATEFUL_SET, "apps/v1/Deployment", CRON_JOB)
        ]
    )
    state = up.cloud.state(STACK)
    for secret in (key, "PRIVATE KEY", TOKEN):
        assert secret not in shown
        assert secret not in objects
        assert secret not in state
    # The cluster itself has the keys' hashes alone.
    secrets = json.dumps(up.api.list("v1/Secret", NAMESPACE))
    assert key not in secrets


def test_another_key_is_verified_without_another_pod(up: Stack):
    pods, old = up.pods(), up.outputs()
    up.configure(keys="default@2 alice")
    up.up()
    new = up.outputs()
    assert set(new["api_keys"]) == {"default", "alice"}
    assert new["api_key"] != old["api_key"]
    assert new["verification"]["verified_at"] > old["verification"]["verified_at"]
    assert up.pods() == pods


def test_a_server_whose_pod_is_lost_comes_back_with_its_volume_and_its_model(up: Stack):
    pods, claims, fetched = up.pods(), up.claims(), len(up.hub.fetches())
    up.api.delete("v1/Pod", "chat-0", NAMESPACE, grace_seconds=0)

    def back() -> bool:
        pod = up.api.get("v1/Pod", "chat-0", NAMESPACE)
        if pod is None or pod["metadata"]["uid"] == pods["chat-0"]:
            return False
        log = up.runner.log(NAMESPACE, "chat-0", "server") or ""
        return "REST server started" in log and holds(pod, "Ready")

    up.api.wait_for("the server's next pod", back, 60)
    assert up.claims() == claims
    assert len(up.hub.fetches()) == fetched
    assert "there" in (up.runner.log(NAMESPACE, "chat-0", "model") or "")


def test_an_unchanged_stack_has_no_changes(up: Stack):
    pods = up.pods()
    up.no_changes()
    assert up.pods() == pods


def test_idle_servers_are_parked_by_the_job_and_woken_by_the_next_up(up: Stack):
    claims, fetched, before = up.claims(), len(up.hub.fetches()), up.outputs()

    def parked() -> bool:
        return up.replicas() == {"chat": 0, "embeddings": 0}

    for number in range(6):
        run_job(up, f"park-{number}")
        if parked():
            break
        up.api.wait_for("a while without requests", lambda: idle(up) > 61, 90)
    assert parked(), up.runner.logs()[-3000:]
    stamp = up.api.need(STATEFUL_SET, "chat", NAMESPACE)["metadata"]["annotations"][ANNOTATION]
    assert stamp.endswith("Z")
    up.up()
    assert up.replicas() == {"chat": 1, "embeddings": 1}
    assert up.outputs()["verification"]["verified_at"] > before["verification"]["verified_at"]
    assert up.claims() == claims
    assert len(up.hub.fetches()) == fetched
    up.no_changes()


def run_job(up: Stack, name: str) -> None:
    """Start what the CronJob starts, and wait for its end."""
    job = up.api.need(CRON_JOB, "park", NAMESPACE)
    # One minute: the least that it takes, and less than a stack may have.
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (settings,) = [one for one in container["env"] if one["name"] == "LLM_ENDPOINT_PARK"]
    settings["value"] = json.dumps({**json.loads(settings["value"]), "idle_minutes": 1})
    up.api.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": job["spec"]["jobTemplate"]["spec"],
        }
    )
    up.api.wait_for(
        "the job's own words", lambda: "parked" in up.runner.logs().rpartition(f"-{name}-")[2], 30
    )
    up.api.delete(JOB, name, NAMESPACE)
    up.api.wait_until_gone(JOB, name, NAMESPACE)


def idle(up: Stack) -> float:
    """Return for how many seconds nobody has asked for anything, as the gateway says."""
    (gateway,) = [pod for pod in up.pods() if pod.startswith("gateway-")]
    with up.runner.connect(NAMESPACE, gateway, 8080) as connection:
        connection.sendall(b"GET /activity HTTP/1.0\r\nHost: gateway\r\n\r\n")
        content = b"".join(iter(lambda: connection.recv(4096), b""))
    told = json.loads(content.partition(b"\r\n\r\n")[2])
    return told["now"] - max(told["ready_since"] or told["now"], told["last_request"] or 0)


def test_a_parked_stack_has_no_pods_and_keeps_its_volumes_and_keys(up: Stack):
    claims, keys, fetched = up.claims(), up.outputs()["api_keys"], len(up.hub.fetches())
    assert set(claims) == VOLUMES
    up.configure(parked="true")
    up.up()
    assert up.outputs()["state"] == "parked"
    up.api.wait_for("no pods", lambda: not up.pods(), 60)
    assert up.claims() == claims
    up.configure(parked="false", expose="load_balancer", allowed_cidrs="203.0.113.0/24")
    up.up()
    outputs = up.outputs()
    assert outputs["api_keys"] == keys
    assert outputs["endpoint_url"] == f"https://{ADDRESS}"
    assert outputs["verification"]["status"] == "passed"
    assert up.claims() == claims
    assert len(up.hub.fetches()) == fetched
    up.no_changes()


def test_the_load_balancer_lets_in_who_is_allowed_with_a_key(up: Stack):
    outputs = up.outputs()
    assert status(outputs, str(outputs["api_key"])) == 200
    assert status(outputs, "sk-of-somebody-else") == 401
    up.client = OTHER_CLIENT
    try:
        with pytest.raises(OSError, match=r"EOF|reset|closed"):
            status(outputs, str(outputs["api_key"]))
    finally:
        up.client = CLIENT


def status(outputs: dict[str, object], key: str) -> int:
    """Return what a list of models is answered."""
    context = ssl.create_default_context(cadata=str(outputs["ca_certificate"]))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    request = urllib.request.Request(
        f"{outputs['openai_base_url']}/models", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_destroy_leaves_nothing_in_the_cluster_nor_in_the_cloud(up: Stack):
    up.cloud.good("destroy", "--yes", "--skip-preview", "--stack", STACK)
    assert up.cloud.resources() == {}
    assert up.api.get("v1/Namespace", NAMESPACE) is None
    up.api.wait_for("no volumes", lambda: not up.api.list("v1/PersistentVolume"))
