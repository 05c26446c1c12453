"""The way to a notebook runtime: what leads to it, what is printed and said while it is open."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import CORE, NAMESPACE, SLICES, FakeCluster
from fake_runtime import TOKEN, FakeRuntime

from components.rendering.kubernetes.colab.names import PORT, RUNTIME
from scripts.bootstrap.places import Checkout
from scripts.gke.api import ClusterApi
from scripts.gke.forward import NoWayError
from scripts.gke.pod_console import PodConsole
from scripts.gke.pods import RUNTIMES
from scripts.gke.port_forward import ServicePort
from scripts.runtime import forward
from scripts.runtime.outputs import read
from scripts.runtime.watch import Watch
from scripts.verify.boot import Boot

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
VIA = f"kubernetes:{NAMESPACE}/{RUNTIME}/{PORT}"
URL = f"http://127.0.0.1:9000/?token={TOKEN}"


def outputs_of(made: FakeCluster, **changed: Any) -> dict[str, Any]:
    return {
        "runtime": {"status": "passed", "via": VIA},
        "colab_url": URL,
        "cluster": made.access.as_json(),
        **changed,
    }


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as made:
        service = {"spec": {"ports": [{"name": "door", "port": PORT, "targetPort": "door"}]}}
        made.objects[f"{CORE}/services/{RUNTIME}"] = service
        made.objects[f"{CORE}/pods"] = {"items": []}
        made.objects[f"{CORE}/events"] = {"items": []}
        put(made, replicas=1, first=True)
        yield made


def put(cluster: FakeCluster, replicas: int, parked_at: str = "", **pods: bool) -> None:
    """Put the Deployment, and its pods by whether they are ready."""
    annotations = {"llm-endpoint/parked-at": parked_at} if parked_at else {}
    found = {"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}
    cluster.objects[f"{DEPLOYMENTS}/{RUNTIME}"] = found
    cluster.objects[DEPLOYMENTS] = {"items": [found]}
    endpoints = [
        {"conditions": {"ready": ready}, "targetRef": {"name": name}}
        for name, ready in pods.items()
    ]
    ports = [{"name": "door", "port": 8090}]
    cluster.objects[SLICES] = {"items": [{"ports": ports, "endpoints": endpoints}]}


def fake_checkout(folder: Path, outputs: dict[str, Any]) -> Checkout:
    """Return a checkout whose scripts/pulumi tells secrets only where they are asked for."""
    hidden = {**outputs, "colab_url": "[secret]"}
    (folder / "scripts").mkdir()
    for name, content in (("shown", outputs), ("hidden", hidden)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    script = folder / "scripts" / "pulumi"
    script.write_text(
        f'#!/bin/sh\ncase " $* " in *" --show-secrets "*) cat {folder}/shown ;; '
        f"*) cat {folder}/hidden ;; esac\n"
    )
    script.chmod(0o755)
    return Checkout(folder)


def test_the_way_leads_to_the_runtime_and_its_url_is_printed(
    tmp_path: Path, cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
):
    answers: list[bytes] = []
    printed: list[str] = []

    def wait(seconds: float) -> bool:
        printed.append(capsys.readouterr().out)
        (url,) = [line.strip() for line in printed[0].splitlines() if "token=" in line]
        port = int(url.partition(f"/?token={TOKEN}")[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /api HTTP/1.0\r\nHost: localhost:9000\r\n\r\n")
            while data := connection.recv(4096):
                answers.append(data)
        return True

    with FakeRuntime() as runtime:
        cluster.ports["first"] = runtime.port
        checkout = fake_checkout(tmp_path, outputs_of(cluster))
        forward.forward("gke-colab", 0, checkout, cluster.environment, wait)
    assert b"2.20.0" in b"".join(answers)
    assert "share it with nobody" in printed[0]
    assert printed[0].count(TOKEN) == 1
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_named(
    tmp_path: Path,
    cluster: FakeCluster,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    checkout = fake_checkout(tmp_path, outputs_of(cluster))
    monkeypatch.setattr(forward, "this_checkout", lambda: checkout)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ["gke-colab", "--port", port]
        assert forward.main(words, cluster.environment, lambda seconds: True) == 1
    said = capsys.readouterr()
    assert f"error: port {port}: Address already in use" in said.err
    assert "next: another --port" in said.err
    assert TOKEN not in said.err + said.out


def test_the_port_is_colabs_own_unless_another_is_asked_for(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(forward, "forward", lambda stack, port, *_: asked.append((stack, port)))
    assert forward.main(["mine"], {}, lambda seconds: True) == 0
    assert forward.main(["mine", "--port", "9100"], {}, lambda seconds: True) == 0
    assert asked == [("mine", 9000), ("mine", 9100)]


@pytest.mark.parametrize(
    ("changed", "said", "step"),
    [
        ({"runtime": None}, "has no notebook runtime", "gke-colab"),
        (
            {"runtime": {"status": "parked"}},
            "is parked, and its disks are kept",
            "config set runtime_replicas 1 --stack s, then scripts/up s",
        ),
        ({"runtime": {"status": "passed"}}, "lead to no runtime", "scripts/up s"),
        ({"colab_url": None}, "lead to no runtime", "scripts/up s"),
        ({"cluster": "{}"}, "is no https:// origin", "scripts/up s"),
    ],
)
def test_outputs_without_a_runtime_say_what_to_type(
    cluster: FakeCluster, changed: dict[str, Any], said: str, step: str
):
    with pytest.raises(NoWayError, match=said) as caught:
        read(outputs_of(cluster, **changed), "s")
    assert step in caught.value.next_step


def test_a_runtime_does_not_show_its_token_by_accident(cluster: FakeCluster):
    runtime = read(outputs_of(cluster), "s")
    assert TOKEN not in repr(runtime)
    assert runtime.token == TOKEN
    assert runtime.url_at(9100) == f"http://127.0.0.1:9100/?token={TOKEN}"


@pytest.fixture
def watched(cluster: FakeCluster) -> tuple[Watch, list[str]]:
    said: list[str] = []
    ticks = iter(range(0, 10**6, 10))
    console = PodConsole(NAMESPACE, cluster.environment, course=RUNTIMES, access=cluster.access)
    boot = Boot(said.append, str, console, "s", clock=lambda: float(next(ticks)))
    api = ClusterApi(cluster.access, cluster.environment)
    return Watch(api, ServicePort(NAMESPACE, RUNTIME, PORT), "s", boot, said.append), said


Watched = tuple[Watch, list[str]]


def test_a_runtime_that_stays_is_not_spoken_of(watched: Watched):
    watch, said = watched
    watch.look()
    watch.look()
    assert said == []


def test_a_runtime_that_moves_is_followed_from_node_to_node(cluster: FakeCluster, watched: Watched):
    watch, said = watched
    watch.look()
    put(cluster, replicas=1, second=False)
    metadata = {"name": "second", "labels": {"app.kubernetes.io/name": RUNTIME}}
    cluster.objects[f"{CORE}/pods"] = {"items": [{"metadata": metadata, "spec": {}}]}
    watch.look()
    watch.look()
    assert said == [
        "the runtime can't be reached for now: no pod behind llm/colab-runtime:9000 is ready (not "
        "ready yet: second)",
        "node: waits for a node",
    ]
    put(cluster, replicas=1, second=True)
    watch.look()
    watch.look()
    assert said[2:] == [
        "the runtime has moved to the pod second: its files are there again, and its kernels begin "
        "anew (in Colab: Reconnect)"
    ]


def test_a_runtime_that_is_parked_meanwhile_says_what_wakes_it(
    cluster: FakeCluster, watched: Watched
):
    watch, said = watched
    put(cluster, replicas=0, parked_at="2026-11-21T10:00:00Z")
    watch.look()
    watch.look()
    assert said == [
        "the runtime is parked since 2026-11-21T10:00:00Z, because nobody used it: scripts/up s "
        "wakes it, and this goes on"
    ]
    put(cluster, replicas=1, first=True)
    watch.look()
    assert said[1:] == ["the runtime is ready, in the pod first"]


def test_what_never_mends_by_itself_is_said_once(cluster: FakeCluster, watched: Watched):
    watch, said = watched
    put(cluster, replicas=1, first=False)
    waiting = {"reason": "InvalidImageName", "message": "none"}
    status = {"containerStatuses": [{"name": "runtime", "state": {"waiting": waiting}}]}
    metadata = {"name": "first", "labels": {"app.kubernetes.io/name": RUNTIME}}
    pod = {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}
    cluster.objects[f"{CORE}/pods"] = {"items": [pod]}
    for _ in range(3):
        watch.look()
    assert len(said) == len(set(said))
    assert said[-1].startswith("the stage image failed: its image's name is none: none; mend that")


def test_a_cluster_that_can_not_be_asked_ends_nothing(cluster: FakeCluster, watched: Watched):
    watch, said = watched
    path = f"{CORE}/services/{RUNTIME}"
    cluster.refusals[path] = [503, 503]
    watch.look()
    watch.look()
    assert said == ["the cluster can't be asked: HTTP 503: not now"]
    watch.look()
    assert said[1:] == ["the runtime is ready, in the pod first"]
