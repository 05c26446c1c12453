"""How a notebook runtime's pod starts, told in words: its restore, its sidecar, what it is."""

import json
from datetime import UTC, datetime
from typing import Any

from fake_cluster import CORE, NAMESPACE, FakeCluster

from scripts.gke.pod_console import PodConsole
from scripts.gke.pods import RUNTIMES
from scripts.verify.boot_log import BootLog

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
POD = "colab-runtime-1"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
DONE = {"name": "restore", "state": {"terminated": {"exitCode": 0}}}
BESIDE = {"name": "keep", "state": {"running": {}}, "started": True, "ready": True}
READY = {"name": "runtime", "state": {"running": {}}, "ready": True}


def pod(**status: Any) -> dict[str, Any]:
    inits = [{"name": "restore"}, {"name": "keep", "restartPolicy": "Always"}]
    return {
        "metadata": {"name": POD, "labels": {"app.kubernetes.io/name": "colab-runtime"}},
        "spec": {"nodeName": "node-1", "initContainers": inits},
        "status": {"phase": "Pending", **status},
    }


def read(*pods: dict[str, Any], log: str = "", deployments: list[Any] | None = None) -> BootLog:
    objects = {
        f"{CORE}/pods": {"items": list(pods)},
        f"{CORE}/events": {"items": []},
        DEPLOYMENTS: {"items": deployments or []},
    }
    logs = {(POD, name): log for name in ("restore", "keep", "runtime")}
    with FakeCluster(objects=objects, logs=logs) as cluster:
        console = PodConsole(NAMESPACE, cluster.environment, course=RUNTIMES, now=lambda: NOW)
        text = console.read().text
    found = BootLog()
    found.feed(text)
    return found


def shown(log: BootLog) -> list[str]:
    return [record.shown for record in log.stages.values()]


def told(state: str, message: str, stage: str = "restore") -> str:
    record = {"stage": stage, "state": state, "message": message, "time": "T", "boot": ""}
    return f"llm-endpoint: {json.dumps(record)}\n"


def test_a_restore_is_followed_by_its_log():
    running = {"name": "restore", "state": {"running": {}}}
    log = read(pod(initContainerStatuses=[running]), log=told("running", "restores /content"))
    assert shown(log) == ["node: done", "image: done", "restore: restores /content"]


def test_a_restore_that_failed_is_tried_again_and_says_why():
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    failed = {"name": "restore", "state": waiting, "lastState": {"terminated": {"exitCode": 1}}}
    log = read(pod(initContainerStatuses=[failed]), log=told("failed", "no answer"))
    assert log.stages["restore"].shown == (
        "restore: retrying, no answer (ended with status 1, and is started again)"
    )


def test_a_sidecar_that_runs_is_no_stage_of_the_start():
    starting = {"name": "runtime", "state": {"running": {}}, "ready": False}
    status = {"initContainerStatuses": [DONE, BESIDE], "containerStatuses": [starting]}
    assert shown(read(pod(**status)))[2:] == ["restore: done", "runtime: runtime starts"]


def test_a_sidecar_that_goes_on_crashing_is_told():
    last = {"terminated": {"exitCode": 2}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    crashed = {**BESIDE, "state": waiting, "lastState": last, "ready": False, "restartCount": 1}
    for started, containers in ((True, [READY]), (False, [])):
        status = {"initContainerStatuses": [DONE, {**crashed, "started": started}]}
        log = read(pod(**status, containerStatuses=containers))
        assert shown(log)[-1] == (
            "runtime: retrying, keep ended with status 2, 2 times so far, and is started again"
        )


def test_memory_that_does_not_do_names_the_runtimes_key():
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    killed = {"name": "runtime", "state": waiting, "lastState": last, "restartCount": 5}
    status = {"initContainerStatuses": [DONE, BESIDE], "containerStatuses": [killed]}
    assert "a larger runtime_memory_gb may do" in read(pod(**status)).stages["runtime"].message


def test_a_runtime_that_is_ready_is_through():
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [DONE, BESIDE],
        "containerStatuses": [READY, {**READY, "name": "door"}],
    }
    assert shown(read(pod(**status))) == [
        f"{stage}: done" for stage in ("node", "image", "restore", "runtime")
    ]


def test_a_parked_runtime_is_said_to_be_that():
    annotations = {"llm-endpoint/parked-at": "2026-11-21T10:00:00Z"}
    parked = {"metadata": {"annotations": annotations}, "spec": {"replicas": 0}}
    assert shown(read(deployments=[parked])) == [
        "node: no pod is asked for: the runtime is parked since 2026-11-21T10:00:00Z"
    ]
