"""How many pods serve is set once, and when they were parked is asked for."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_authority import make_authority
from fake_cluster import NAMESPACE, SETS, TOKEN, FakeCluster
from fake_google_apis import FakeApis, refusal

from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.clusters import access_of
from scripts.gke.parked import ANNOTATION, last_parked
from scripts.gke.scale import WOKEN, ScaleError, Wanted, main, parse, scale

SET = f"{SETS}/chat"
CHAT = f"{SET}/scale"
CLUSTER = "container/v1/projects/my-project/locations/europe-west4-a/clusters/mine"


def sized(replicas: int) -> dict[str, Any]:
    return {"spec": {"replicas": replicas} if replicas else {}}


def patches(cluster: FakeCluster) -> list[Any]:
    return [body for method, path, body in cluster.asked if method == "PATCH" and path == CHAT]


def woken(cluster: FakeCluster) -> list[Any]:
    return [body for method, path, body in cluster.asked if method == "PATCH" and path == SET]


@pytest.mark.parametrize(
    ("current", "wanted", "patched"),
    [
        (0, Wanted(1), 1),
        (1, Wanted(1), None),
        (3, Wanted(1), 1),
        (0, Wanted(0), None),
        (2, Wanted(0, 4), 0),
        (3, Wanted(1, 4), None),
        (0, Wanted(1, 4), 1),
        (9, Wanted(2, 4), 2),
    ],
)
def test_a_count_that_will_do_stays(current: int, wanted: Wanted, patched: int | None):
    with FakeCluster(objects={SET: {}, CHAT: sized(current)}) as cluster:
        scale(ClusterApi(cluster.access, cluster.environment), "llm", {"chat": wanted})
    # The job that parks counts from there.
    assert len(woken(cluster)) == (current == 0 and patched is not None)
    expected = [] if patched is None else [{"spec": {"replicas": patched}}]
    assert patches(cluster) == expected


def test_a_set_that_has_just_been_made_is_waited_for():
    with FakeCluster(
        objects={SET: {}, CHAT: sized(0)}, refusals={CHAT: [404, 503, 409]}
    ) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        scale(api, "llm", {"chat": Wanted(1)}, pause=lambda _: None)
    assert patches(cluster) == [{"spec": {"replicas": 1}}]


def test_what_is_no_stateful_set_says_its_kind():
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/colab-runtime"
    wanted = parse('{"colab-runtime": {"replicas": 1, "most": null, "kind": "Deployment"}}')
    with FakeCluster(objects={path: {}, f"{path}/scale": sized(0)}) as cluster:
        scale(ClusterApi(cluster.access, cluster.environment), NAMESPACE, wanted)
    asked = [(method, where) for method, where, _ in cluster.asked]
    assert asked == [("GET", f"{path}/scale"), ("PATCH", path), ("PATCH", f"{path}/scale")]
    assert list(cluster.asked[1][2]["metadata"]["annotations"]) == [WOKEN]


def test_a_set_that_is_not_there_ends_the_patience():
    with FakeCluster() as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        with pytest.raises(ClusterError, match="StatefulSet chat: HTTP 404"):
            scale(api, "llm", {"chat": Wanted(1)}, patience_seconds=0.0)


def test_what_is_refused_is_not_asked_for_again():
    with FakeCluster(refusals={CHAT: [403]}) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        with pytest.raises(ClusterError, match="HTTP 403"):
            scale(api, "llm", {"chat": Wanted(1)})
    assert len(cluster.asked) == 1


def test_the_output_is_one_line_that_load_does_not_change(capsys: pytest.CaptureFixture[str]):
    lines: list[str] = []
    for current in (0, 3):
        with FakeCluster(objects={SET: {}, CHAT: sized(current)}) as cluster:
            more = {
                "LLM_ENDPOINT_NAMESPACE": "llm",
                "LLM_ENDPOINT_SCALE": '{"chat": {"replicas": 1, "most": 4}}',
            }
            assert main({**cluster.environment, **more}) == 0
        lines.append(capsys.readouterr().out)
    assert lines == ['{"chat": 1}\n'] * 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"chat": {"replicas": -1}}',
        '{"chat": {"most": 1}}',
        '{"chat": {"replicas": 1, "kind": "Pod"}}',
        '{"chat": {"replicas": 1, "kind": 1}}',
    ],
)
def test_counts_that_are_none_are_refused(text: str):
    with pytest.raises(ScaleError, match="LLM_ENDPOINT_SCALE"):
        parse(text)


def test_what_is_wrong_with_the_environment_is_said(capsys: pytest.CaptureFixture[str]):
    with FakeCluster() as cluster:
        assert main(cluster.environment) == 1
        assert "LLM_ENDPOINT_NAMESPACE" in capsys.readouterr().err
        assert main({"LLM_ENDPOINT_NAMESPACE": "llm"}) == 1
        assert "LLM_ENDPOINT_CLUSTER" in capsys.readouterr().err
    assert cluster.asked == []


def parked(**moments: str) -> dict[str, Any]:
    return {
        f"{SETS}/{name}": {"metadata": {"annotations": {ANNOTATION: moment} if moment else {}}}
        for name, moment in moments.items()
    }


@pytest.fixture
def google() -> Iterator[FakeApis]:
    with FakeApis() as google:
        yield google


def asked_by(google: FakeApis, *names: str, kind: str = "StatefulSet") -> str:
    # The fake API servers know one token.
    assert google.environment["GOOGLE_OAUTH_ACCESS_TOKEN"] == TOKEN
    place = ("my-project", "europe-west4-a", "mine", "llm")
    return last_parked(*place, names, google.environment, kind=kind)


def test_the_last_of_the_moments_counts(google: FakeApis, tmp_path: Path):
    authority = make_authority(tmp_path)
    pem = authority.path.read_text()
    found = parked(chat="2026-11-21T10:00:00Z", embeddings="2026-11-21T10:05:00Z")
    with FakeCluster(tls=authority.context(), objects=found) as cluster:
        encoded = base64.b64encode(pem.encode()).decode()
        answer = {
            "endpoint": f"127.0.0.1:{cluster.port}",
            "masterAuth": {"clusterCaCertificate": encoded},
        }
        google.on(CLUSTER, (200, answer))
        assert asked_by(google, "chat", "embeddings") == "2026-11-21T10:05:00Z"
        assert asked_by(google, "chat", "new") == "2026-11-21T10:00:00Z"
        assert asked_by(google, "new") == ""
        assert asked_by(google, "chat", kind="Deployment") == ""
        cluster.objects[f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/chat"] = found[
            f"{SETS}/chat"
        ]
        assert asked_by(google, "chat", kind="Deployment") == "2026-11-21T10:00:00Z"
    assert asked_by(google, "chat") == ""


@pytest.mark.parametrize("status", [403, 404])
def test_a_cluster_that_is_not_there_was_never_parked(google: FakeApis, status: int):
    google.on(CLUSTER, refusal(status, "no"))
    assert asked_by(google, "chat") == ""


def test_the_dns_endpoint_comes_first_where_it_lets_callers_in():
    by_name = {"endpoint": "gke-1.europe-west4.gke.goog", "allowExternalTraffic": True}
    value: dict[str, Any] = {
        "endpoint": "203.0.113.7",
        "masterAuth": {"clusterCaCertificate": base64.b64encode(b"PEM").decode()},
        "controlPlaneEndpointsConfig": {"dnsEndpointConfig": by_name},
    }
    found = access_of(value)
    assert found is not None
    assert json.loads(found.as_json()) == {
        "server": "https://gke-1.europe-west4.gke.goog",
        "certificate_authority": None,
    }
    by_name["allowExternalTraffic"] = False
    found = access_of(value)
    assert found is not None
    assert (found.server, found.certificate_authority) == ("https://203.0.113.7", "PEM")
    assert access_of({"endpoint": "203.0.113.7"}) is None
