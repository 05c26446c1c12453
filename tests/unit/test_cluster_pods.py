"""How pods start, told in words from what the cluster says, and what of it never mends."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_cluster import CORE, SETS, FakeCluster

from scripts.gke.pod_console import PodConsole
from scripts.verify.boot import Boot
from scripts.verify.boot_log import BootLog
from scripts.verify.boot_source import open_console, parse_source, subject
from scripts.verify.console import ConsoleError
from scripts.verify.options import UsageError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def pod(name: str = "chat-0", owner: str = "chat", **status: Any) -> dict[str, Any]:
    """Return a pod; `node` None is one that has none yet."""
    node = status.pop("node", "node-1")
    return {
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": owner},
            "ownerReferences": [{"kind": "StatefulSet"}],
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": "Pending", **status},
    }


def container(name: str, **state: Any) -> dict[str, Any]:
    more = {key: state.pop(key) for key in ("restartCount", "ready", "lastState") if key in state}
    return {"name": name, "state": state, **more}


def waiting(reason: str, message: str = "") -> dict[str, str]:
    return {"reason": reason, "message": message}


DONE = container("model", terminated={"exitCode": 0})
READY = {
    "conditions": [{"type": "Ready", "status": "True"}],
    "initContainerStatuses": [DONE],
    "containerStatuses": [container("server", running={}, ready=True)],
}


def event(reason: str, message: str, at: str = "11:59:00", **about: str) -> dict[str, Any]:
    return {
        "involvedObject": {"kind": "Pod", "name": "chat-0", **about},
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-21T{at}Z",
    }


def read(
    *pods: dict[str, Any],
    events: list[dict[str, Any]] | None = None,
    logs: dict[tuple[str, str], str] | None = None,
    sets: list[Any] | None = None,
) -> BootLog:
    objects = {
        f"{CORE}/pods": {"items": list(pods)},
        f"{CORE}/events": {"items": events or []},
        SETS: {"items": sets or []},
    }
    with FakeCluster(objects=objects, logs=logs or {}) as cluster:
        piece = PodConsole("llm", cluster.environment, now=lambda: NOW).read()
    log = BootLog()
    assert piece.afresh
    log.feed(piece.text)
    return log


def shown(log: BootLog) -> list[str]:
    return [record.shown for record in log.stages.values()]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "node: waits for a node"),
        (
            [event("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.")],
            "node: no node has room yet (FailedScheduling): 0/1 nodes are available: "
            "1 Insufficient cpu.",
        ),
        (
            [
                event("TriggeredScaleUp", "pod triggered scale-up", "11:58:00"),
                event("FailedScheduling", "0/1 nodes are available", "11:59:30"),
            ],
            "node: a node is being made (TriggeredScaleUp)",
        ),
        (
            [event("TriggeredScaleUp", "pod triggered scale-up", "11:50:00")],
            "node: a node is being made (TriggeredScaleUp), for 10 minutes now: Google may have no "
            "room for it in the zone; another gcp:zone, another node_machine_type or spot false "
            "may do",
        ),
        (
            [event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size")],
            "node: retrying, no node is added (NotTriggerScaleUp): pod didn't trigger scale-up: 1 "
            "max node group size; max_nodes bounds the pool",
        ),
    ],
)
def test_what_keeps_a_pod_from_a_node_is_said_in_words(events: list[Any], said: str):
    log = read(pod(node=None), events=events)
    assert shown(log) == [said]


@pytest.mark.parametrize(
    ("reason", "message", "state"),
    [
        ("ImagePullBackOff", "manifest unknown", "failed"),
        ("ErrImagePull", "x: not found", "failed"),
        ("ErrImagePull", "dial tcp: i/o timeout", "retrying"),
        ("InvalidImageName", "invalid reference format", "failed"),
        ("CreateContainerConfigError", 'secret "gateway-keys" not found', "retrying"),
        (
            "CreateContainerConfigError",
            "runAsNonRoot and image will run as root",
            "failed",
        ),
        ("PodInitializing", "", "running"),
    ],
)
def test_an_image_that_never_comes_fails_and_one_that_may_is_tried_again(
    reason: str, message: str, state: str
):
    log = read(pod(initContainerStatuses=[container("model", waiting=waiting(reason, message))]))
    assert log.stages["image"].state == state
    assert message in log.stages["image"].message


def test_why_an_image_does_not_come_is_taken_from_the_event_while_the_next_try_is_waited_for():
    status = container("model", waiting=waiting("ImagePullBackOff", "Back-off pulling image"))
    events = [
        event("Failed", "Failed to pull image: manifest unknown", "11:58:00"),
        event("Failed", "Error: ErrImagePull", "11:58:00"),
        event("BackOff", "Back-off pulling image", "11:59:00"),
        event("Failed", "Error: ImagePullBackOff", "11:59:00"),
    ]
    log = read(pod(initContainerStatuses=[status]), events=events)
    assert log.stages["image"].state == "failed"
    assert "manifest unknown" in log.stages["image"].message


@pytest.mark.parametrize("label", ["controller-revision-hash", "pod-template-hash"])
def test_a_pod_that_is_being_replaced_fails_no_deployment(label: str):
    failed = container("model", terminated={"exitCode": 78}, lastState={})
    old, new = pod("chat-0", initContainerStatuses=[failed]), pod("chat-1", **READY)
    for one, revision, made in ((old, "old", "11:00:00"), (new, "new", "11:58:00")):
        one["metadata"]["creationTimestamp"] = f"2026-11-21T{made}Z"
        one["metadata"]["labels"][label] = revision
    assert "failed" not in {each.state for each in read(old, new).stages.values()}
    old["metadata"]["labels"][label] = "new"
    assert read(old, new).stages["model"].state == "failed"


def test_pods_of_others_in_the_namespace_are_not_asked_for():
    with FakeCluster(objects={f"{CORE}/pods": {}, f"{CORE}/events": {}, SETS: {}}) as cluster:
        PodConsole("llm", cluster.environment, now=lambda: NOW).read()
    assert cluster.selected[f"{CORE}/pods"] == "app.kubernetes.io/part-of=llm-endpoint"


def test_a_volume_that_is_not_there_yet_is_said():
    log = read(
        pod(initContainerStatuses=[container("model", waiting=waiting("PodInitializing"))]),
        events=[event("FailedAttachVolume", "Multi-Attach error for volume")],
    )
    assert shown(log) == [
        "node: done",
        "image: retrying, its volume is not there yet (FailedAttachVolume): Multi-Attach error for "
        "volume",
    ]


def record(state: str, message: str, **more: Any) -> str:
    told = {"stage": "model", "state": state, "message": message, "time": "T", "boot": "b", **more}
    return f"llm-endpoint: {json.dumps(told)}\n"


def test_the_pull_of_a_model_is_followed_by_its_log():
    text = record("running", "1.0 of 4.9 GB") + record("running", "2.0 of 4.9 GB")
    log = read(
        pod(initContainerStatuses=[container("model", running={})]),
        logs={("chat-0", "model"): text},
    )
    assert shown(log) == ["node: done", "image: done", "model: 2.0 of 4.9 GB"]


def test_packages_that_come_before_a_model_are_told_too():
    told = {"stage": "packages", "state": "running", "message": "5 of 9", "time": "T", "boot": "b"}
    text = record("done", "here") + f"llm-endpoint: {json.dumps(told)}\n"
    log = read(
        pod(initContainerStatuses=[container("model", running={})]),
        gateway(initContainerStatuses=[container("packages", running={})]),
        logs={("chat-0", "model"): text, ("gateway-7d-x", "packages"): text},
    )
    assert shown(log) == [
        "node: done",
        "image: done",
        "model: packages: 5 of 9",
        "packages: 5 of 9",
    ]


def test_a_model_that_trying_again_does_not_mend_fails_with_its_message():
    status = container(
        "model",
        waiting=waiting("CrashLoopBackOff"),
        lastState={"terminated": {"exitCode": 78}},
    )
    text = record("failed", "owner/repo has no revision x: name another", log=["HTTP 404"])
    log = read(pod(initContainerStatuses=[status]), logs={("chat-0", "model"): text})
    failed = log.stages["model"]
    assert (failed.state, failed.message) == (
        "failed",
        "owner/repo has no revision x: name another",
    )
    assert "chat-0: HTTP 404" in failed.log


@pytest.mark.parametrize(("ended", "state"), [("11:58:00", "retrying"), ("12:00:10", "failed")])
def test_what_failed_before_this_deployment_may_be_mended_by_now(ended: str, state: str):
    last = {"terminated": {"exitCode": 78, "finishedAt": f"2026-11-21T{ended}Z"}}
    status = container("model", waiting=waiting("CrashLoopBackOff"), lastState=last)
    text = record("failed", "owner/repo has no revision x: name another")
    log = read(pod(initContainerStatuses=[status]), logs={("chat-0", "model"): text})
    assert log.stages["model"].state == state
    last = {"terminated": {"exitCode": 1, "finishedAt": f"2026-11-21T{ended}Z"}}
    crashed = container(
        "server", waiting=waiting("CrashLoopBackOff"), lastState=last, restartCount=3
    )
    log = read(pod(initContainerStatuses=[DONE], containerStatuses=[crashed]))
    assert log.stages["server"].state == state


def test_a_pull_that_broke_off_is_tried_again():
    status = container(
        "model", waiting=waiting("CrashLoopBackOff"), lastState={"terminated": {"exitCode": 1}}
    )
    log = read(
        pod(initContainerStatuses=[status]),
        logs={("chat-0", "model"): record("retrying", "the hub does not answer")},
    )
    assert log.stages["model"].shown == (
        "model: retrying, the hub does not answer (ended with status 1, and is started again)"
    )


@pytest.mark.parametrize(
    ("restarts", "state", "said"),
    [(1, "retrying", "2 times so far"), (3, "failed", "server ended with status 1, 4 times over")],
)
def test_a_server_that_goes_on_crashing_fails_with_the_end_of_its_log(
    restarts: int, state: str, said: str
):
    crashed = container(
        "server",
        waiting=waiting("CrashLoopBackOff"),
        lastState={"terminated": {"exitCode": 1}},
        restartCount=restarts,
    )
    log = read(
        pod(initContainerStatuses=[DONE], containerStatuses=[crashed]),
        logs={("chat-0", "server"): "loading\nno such model\n"},
    )
    server = log.stages["server"]
    assert server.state == state
    assert said in server.message
    assert log.tail[-1] == "chat-0: no such model"
    if state == "failed":
        assert server.log[-1] == "chat-0: no such model"


def test_memory_that_does_not_do_names_the_keys():
    killed = container(
        "server",
        waiting=waiting("CrashLoopBackOff"),
        lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        restartCount=5,
    )
    log = read(pod(initContainerStatuses=[DONE], containerStatuses=[killed]))
    assert "a larger pod_memory_gb, a smaller kv_cache_gb" in log.stages["server"].message


def gateway(**status: Any) -> dict[str, Any]:
    return pod("gateway-7d-x", "gateway", **status)


def test_everything_is_through_once_servers_and_gateway_are_ready():
    boot = Boot([].append, str, None)
    running = container("server", running={}, ready=False)
    loading = {"initContainerStatuses": [DONE], "containerStatuses": [running]}
    log = read(pod(**loading), gateway(**READY), logs={("chat-0", "server"): "reading weights\n"})
    assert shown(log)[-2:] == ["server: server loads the model", "gateway: done"]
    assert log.tail[-1] == "chat-0: reading weights"
    boot._log = read(pod(**READY), gateway(**READY))
    assert boot.is_through


def test_with_several_pods_each_is_named():
    log = read(pod(node=None), pod("chat-1", **READY), gateway(node=None))
    assert shown(log) == ["node: chat-0: waits for a node", "gateway: node: waits for a node"]


def test_what_is_going_or_has_ended_does_not_count():
    going = pod("chat-1")
    going["metadata"]["deletionTimestamp"] = "T"
    log = read(pod(**READY), going, pod("chat-2", phase="Failed"), gateway(**READY))
    assert set(shown(log)) == {
        f"{stage}: done" for stage in ("node", "image", "model", "server", "gateway")
    }


def test_pods_that_pod_security_refuses_fail_at_once():
    about = {"kind": "StatefulSet", "name": "chat"}
    message = 'pods "chat-0" is forbidden: violates PodSecurity "restricted:latest"'
    log = read(events=[event("FailedCreate", message, **about)])
    assert log.stages["node"].state == "failed"
    log = read(events=[event("FailedCreate", "exceeded quota: q", **about)])
    assert log.stages["node"].shown == (
        "node: retrying, no pod of chat can be made: exceeded quota: q"
    )


def test_events_of_an_earlier_deployment_are_left_out():
    log = read(pod(node=None), events=[event("NotTriggerScaleUp", "no", "11:00:00")])
    assert shown(log) == ["node: waits for a node"]


def test_parked_servers_are_said_to_be_that():
    annotations = {"llm-endpoint/parked-at": "2026-11-21T10:00:00Z"}
    log = read(sets=[{"metadata": {"annotations": annotations}, "spec": {"replicas": 0}}])
    assert shown(log) == [
        "node: no pod is asked for: the servers are parked since 2026-11-21T10:00:00Z"
    ]


def test_a_verification_tells_the_stages_and_ends_early():
    lines: list[str] = []
    ticks = iter(range(0, 10**6, 10))
    crashed = pod(initContainerStatuses=[container("model", waiting=waiting("InvalidImageName"))])
    objects = {f"{CORE}/pods": {"items": [crashed]}, f"{CORE}/events": {"items": []}}
    with FakeCluster(objects=objects) as cluster:
        console = PodConsole("llm", cluster.environment, now=lambda: NOW)
        boot = Boot(
            lines.append,
            str,
            console,
            "gke-ovms",
            clock=lambda: float(next(ticks)),
            subject=subject("kubernetes:llm"),
        )
        failure = boot.failure()
    assert failure is not None
    assert failure.never_ready
    assert failure.expected == "every stage of the pods' start to succeed"
    assert "the stage image failed: its image's name is none" in failure.seen
    assert failure.next_step == (
        "mend that, then scripts/up gke-ovms; the whole console: kubectl get pods,events "
        "--namespace llm"
    )
    assert lines[0] == "node: done"


@pytest.mark.parametrize(("status", "passing"), [(403, False), (503, True)])
def test_a_cluster_that_does_not_tell_fails_nothing(status: int, passing: bool):
    refusals = {f"{CORE}/pods": [status]}
    with FakeCluster(refusals=refusals) as cluster, pytest.raises(ConsoleError) as caught:
        PodConsole("llm", cluster.environment).read()
    assert caught.value.passing is passing


def test_a_namespace_is_a_source_of_a_boot():
    assert parse_source("kubernetes:llm") == "kubernetes:llm"
    assert isinstance(open_console("kubernetes:llm"), PodConsole)
    with pytest.raises(UsageError, match="kubernetes:NAMESPACE"):
        parse_source("kubernetes:a/b")
