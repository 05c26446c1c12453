"""A notebook runtime is proved to work, and to let in nobody else."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_cluster import CORE, NAMESPACE, SLICES, FakeCluster
from fake_runtime import TOKEN, FakeRuntime, answers

from components.rendering.kubernetes.colab.names import PORT, RUNTIME
from scripts.runtime.verify import main
from scripts.verify.outcome import ExitStatus

DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RUNTIME}"
ENVIRONMENT = {"LLM_ENDPOINT_RUNTIME_TOKEN": TOKEN}
NAMES = ["reachable", "ready", "version", "refuses_without_token", "accepts_token"]
NAMES += ["refuses_strangers", "kernel"]


class Ran:
    """One verification: its status, its receipt, and all that it wrote."""

    def __init__(
        self, capsys: pytest.CaptureFixture[str], words: list[str], environment: dict[str, str]
    ) -> None:
        self.status = main(words, environment)
        written = capsys.readouterr()
        self.stdout, self.stderr = written.out, written.err
        self.receipt: dict[str, Any] = json.loads(written.out) if written.out else {}
        # Of no part of it either.
        assert TOKEN[:12] not in written.out + written.err

    @property
    def failed(self) -> dict[str, Any]:
        (check,) = [one for one in self.receipt["checks"] if one["status"] == "failed"]
        return check


Verify = Callable[..., Ran]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    def run(runtime: FakeRuntime, *words: str, **variables: str) -> Ran:
        given = ["--via", runtime.via, "--wait-seconds", "10", *words]
        return Ran(capsys, given, {**ENVIRONMENT, **variables})

    return run


def test_a_runtime_that_works_gets_a_receipt(verify: Verify):
    with FakeRuntime(starting=2) as runtime:
        ran = verify(runtime, "--disk", "/", "--disk", "/nowhere", "--json", "--if-passed")
    assert ran.status is ExitStatus.PASSED
    receipt = ran.receipt
    assert [(one["name"], one["status"]) for one in receipt["checks"]] == [
        (name, "passed") for name in NAMES
    ]
    assert (receipt["schema_version"], receipt["status"]) == (1, "passed")
    assert (receipt["url"], receipt["via"]) == ("http://127.0.0.1:9000", runtime.via)
    assert receipt["server"] == "2.20.0"
    root, nowhere = receipt["disks"]
    assert 0 < root["free_bytes"] < root["total_bytes"]
    assert nowhere == {"path": "/nowhere", "free_bytes": None, "total_bytes": None}
    assert ran.stdout.count("\n") == 1
    assert runtime.kernels == set()


def test_a_runtime_that_anybody_may_use_fails(verify: Verify):
    with FakeRuntime(has_token=False) as runtime:
        ran = verify(runtime)
    assert ran.status is ExitStatus.FAILED
    assert ran.failed["name"] == "refuses_without_token"
    assert ran.failed["seen"].startswith("HTTP 200")


def test_another_token_is_told_by_its_refusal(capsys: pytest.CaptureFixture[str]):
    other = "some-other-token-than-that"
    with FakeRuntime(echoes=True) as runtime:
        words = ["--via", runtime.via]
        ran = Ran(capsys, words, {"LLM_ENDPOINT_RUNTIME_TOKEN": other})
    assert ran.failed["name"] == "accepts_token"
    assert other not in ran.stdout + ran.stderr
    assert "[key]" in ran.failed["seen"]


def test_a_runtime_without_its_door_is_found_out(verify: Verify):
    with FakeRuntime(has_door=False) as runtime:
        ran = verify(runtime)
    assert ran.failed["name"] == "refuses_strangers"
    assert ran.failed["expected"] == (
        "a request of the website https://notebooks.example.com to be refused"
    )


def lying(code: str) -> list[dict[str, Any]]:
    return answers("print('{\"product\": 1}')")


def raising(code: str) -> list[dict[str, Any]]:
    reply = {"status": "error", "ename": "MemoryError"}
    return [{"msg_type": "execute_reply", "content": reply}]


def talking(code: str) -> list[dict[str, Any]]:
    return [{"msg_type": "stream", "content": {"text": "x" * 70_000}}]


@pytest.mark.parametrize(
    ("kernel", "seen"),
    [
        (lying, '{"product": 1}'),
        (raising, "MemoryError in the kernel"),
        (talking, "more output than the code prints"),
        (lambda code: [], "the websocket was closed"),
    ],
)
def test_a_kernel_that_does_not_compute_fails_and_is_ended(
    verify: Verify, kernel: Callable[[str], list[dict[str, Any]]], seen: str
):
    with FakeRuntime(kernel=kernel) as runtime:
        ran = verify(runtime)
        assert runtime.kernels == set()
    assert (ran.failed["name"], ran.failed["seen"]) == ("kernel", seen)


def test_a_kernel_that_says_nothing_is_given_up(verify: Verify):
    def silent(code: str) -> list[dict[str, Any]]:
        return [{"msg_type": "status", "content": {"execution_state": "busy"}}]

    with FakeRuntime(kernel=silent) as runtime:
        ran = verify(runtime, "--check-seconds", "0.3")
    assert ran.failed["name"] == "kernel"
    assert ran.failed["expected"] == "an end within 0.3 s"


def test_a_runtime_that_never_answers_is_never_ready(verify: Verify):
    with FakeRuntime(starting=10**6) as runtime:
        ran = verify(runtime, "--wait-seconds", "0.2")
    assert ran.status is ExitStatus.NEVER_READY
    assert ran.failed["name"] == "ready"
    assert "still loading (HTTP 502 from /api)" in ran.failed["seen"]


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ([], {}, "LLM_ENDPOINT_NAMESPACE"),
        (["--via", "nowhere"], ENVIRONMENT, "--via takes"),
        (["--via", "127.0.0.1:1"], {}, "LLM_ENDPOINT_RUNTIME_TOKEN has no token"),
        ([], {**ENVIRONMENT, "LLM_ENDPOINT_NAMESPACE": "n"}, "LLM_ENDPOINT_CLUSTER is not set"),
        ([f"--token={TOKEN}"], ENVIRONMENT, "does not know"),
        (["--wait-seconds", TOKEN], ENVIRONMENT, "another kind of value"),
    ],
)
def test_a_command_line_that_can_not_be_followed_is_said(
    capsys: pytest.CaptureFixture[str], words: list[str], environment: dict[str, str], said: str
):
    ran = Ran(capsys, words, environment)
    assert ran.status is ExitStatus.USAGE
    assert said in ran.stderr


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeRuntime() as runtime, FakeCluster() as made:
        service = {"spec": {"ports": [{"name": "door", "port": PORT, "targetPort": "door"}]}}
        made.objects[f"{CORE}/services/{RUNTIME}"] = service
        endpoint = {"conditions": {"ready": True}, "targetRef": {"name": "colab-runtime-1"}}
        ports = [{"name": "door", "port": 8090}]
        made.objects[SLICES] = {"items": [{"ports": ports, "endpoints": [endpoint]}]}
        made.objects[f"{CORE}/pods"] = {"items": []}
        made.objects[f"{CORE}/events"] = {"items": []}
        made.ports["colab-runtime-1"] = runtime.port
        yield made


def deployment(**changed: Any) -> dict[str, Any]:
    status = {
        "observedGeneration": 2,
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": 1,
        **changed,
    }
    return {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}


def in_cluster(
    capsys: pytest.CaptureFixture[str],
    cluster: FakeCluster,
    found: dict[str, Any],
    seconds: float = 30,
) -> Ran:
    cluster.objects[DEPLOYMENT] = found
    cluster.objects[DEPLOYMENT.rpartition("/")[0]] = {"items": [found]}
    more = {**cluster.environment, **ENVIRONMENT, "LLM_ENDPOINT_NAMESPACE": NAMESPACE}
    return Ran(capsys, ["--wait-seconds", str(seconds), "--stack", "gke-colab"], more)


def test_a_runtime_in_a_cluster_is_reached_by_a_port_forward(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster
):
    ran = in_cluster(capsys, cluster, deployment())
    assert ran.status is ExitStatus.PASSED
    assert [one["name"] for one in ran.receipt["checks"]] == ["pod", *NAMES]
    assert ran.receipt["via"] == f"kubernetes:{NAMESPACE}/colab-runtime/9000"


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"observedGeneration": 1}, "the cluster has not looked at the Deployment yet"),
        ({"replicas": 2}, "the pod from before is still there"),
        ({"availableReplicas": 0}, "its pod is not ready"),
    ],
)
def test_a_pod_that_is_not_the_deployed_one_is_waited_for(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, changed: dict[str, int], seen: str
):
    ran = in_cluster(capsys, cluster, deployment(**changed), seconds=0.2)
    assert ran.status is ExitStatus.NEVER_READY
    assert ran.failed["name"] == "pod"
    assert seen in ran.failed["seen"]


def test_a_parked_runtime_is_not_waited_for(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster
):
    annotations = {"llm-endpoint/parked-at": "2026-11-21T10:00:00Z"}
    parked = {"metadata": {"annotations": annotations}, "spec": {"replicas": 0}}
    ran = in_cluster(capsys, cluster, parked)
    assert ran.failed["seen"] == "it is parked since 2026-11-21T10:00:00Z"
    assert ran.failed["next"] == "scripts/up gke-colab wakes it"


def test_a_pod_that_never_starts_ends_the_wait(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster
):
    waiting = {"reason": "InvalidImageName", "message": "no such name"}
    status = {"initContainerStatuses": [{"name": "restore", "state": {"waiting": waiting}}]}
    metadata = {"name": "colab-runtime-1", "labels": {"app.kubernetes.io/name": RUNTIME}}
    pod = {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}
    cluster.objects[f"{CORE}/pods"] = {"items": [pod]}
    ran = in_cluster(capsys, cluster, deployment(availableReplicas=0))
    assert ran.failed["expected"] == "every stage of the runtime's start to succeed"
    assert "the stage image failed: its image's name is none: no such name" in ran.failed["seen"]
