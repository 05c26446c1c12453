"""What scripts/down finds in Compute Engine of a cluster that is gone."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_google_apis import Asked, FakeApis, refusal

from scripts.bootstrap import exported, leftovers
from scripts.gke.leftovers import main

CLUSTER = "projects/my-project/locations/europe-west4-a/clusters/llm-endpoint-x"
ARGUMENTS = ["--cluster", CLUSTER, "--namespace", "llm"]
LISTS = "compute/v1/projects/my-project"
KINDS = {
    "disks": f"{LISTS}/aggregated/disks",
    "forwardingRules": f"{LISTS}/aggregated/forwardingRules",
    "addresses": f"{LISTS}/aggregated/addresses",
    "networkEndpointGroups": f"{LISTS}/aggregated/networkEndpointGroups",
}
FIREWALLS = f"{LISTS}/global/firewalls"


@pytest.fixture
def google() -> Iterator[FakeApis]:
    with FakeApis() as google:
        for path in (*KINDS.values(), FIREWALLS):
            google.on(path, (200, {}))
        yield google


def put(google: FakeApis, kind: str, scope: str, *resources: dict[str, Any]) -> None:
    empty = {"warning": {"code": "NO_RESULTS_ON_PAGE"}}
    items = {"zones/us-east1-b": empty, scope: {kind: list(resources)}}
    google.on(KINDS[kind], (200, {"items": items}))


def disk(name: str, namespace: str, cluster: str | None = "llm-endpoint-x") -> dict[str, Any]:
    described = {
        "kubernetes.io/created-for/pvc/name": "models-chat-0",
        "kubernetes.io/created-for/pvc/namespace": namespace,
    }
    labels = {"goog-k8s-cluster-name": cluster} if cluster else {}
    return {
        "name": name,
        "sizeGb": "50",
        "labels": labels,
        "description": json.dumps(described),
    }


def told(google: FakeApis, capsys: pytest.CaptureFixture[str], *more: str, status: int = 0) -> str:
    assert main([*ARGUMENTS, *more], google.environment) == status
    out, err = capsys.readouterr()
    return err if status else out


def test_nothing_is_said_to_be_nothing(google: FakeApis, capsys: pytest.CaptureFixture[str]):
    assert told(google, capsys) == "Nothing is left of the namespace llm in Compute Engine.\n"


def test_disks_of_claims_are_told_with_what_deletes_them(
    google: FakeApis, capsys: pytest.CaptureFixture[str]
):
    put(
        google,
        "disks",
        "zones/europe-west4-a",
        disk("pvc-ours", "llm"),
        disk("pvc-older", "llm", cluster=None),
        disk("pvc-other-namespace", "web"),
        disk("pvc-other-cluster", "llm", "another"),
        {"name": "mine", "sizeGb": "10", "description": "by hand"},
    )
    text = told(google, capsys)
    assert "disk pvc-ours (50 GB, of the claim models-chat-0)" in text
    assert (
        "gcloud compute disks delete pvc-ours --zone europe-west4-a --project my-project --quiet"
        in text
    )
    assert "pvc-older" in text
    assert "other" not in text
    assert "mine" not in text
    assert "kept on purpose" not in text
    assert "kept on purpose (keep_data)" in told(google, capsys, "--kept")


def test_of_a_whole_cluster_every_disk_counts(google: FakeApis, capsys: pytest.CaptureFixture[str]):
    put(google, "disks", "zones/europe-west4-a", disk("pvc-web", "web"))
    assert "Nothing is left" in told(google, capsys)
    assert "disk pvc-web" in told(google, capsys, "--whole")


def test_what_load_balancers_leave_is_told(google: FakeApis, capsys: pytest.CaptureFixture[str]):
    service = '{"networking.gke.io/service-name":"llm/gateway"}'
    put(
        google,
        "forwardingRules",
        "regions/europe-west4",
        {"name": "k8s2-a", "IPAddress": "203.0.113.7", "description": service},
        {"name": "k8s2-b", "description": '{"networking.gke.io/service-name":"web/gateway"}'},
    )
    put(google, "addresses", "global", {"name": "kept", "description": "/namespaces/llm/"})
    put(
        google,
        "networkEndpointGroups",
        "zones/europe-west4-a",
        {"name": "k8s1-n", "description": '{"cluster-uid":"u","namespace":"llm","port":"443"}'},
    )
    rules = [
        {"name": "k8s2-a-fw", "description": service},
        {"name": "gke-llm-endpoint-x-0f1e-all", "network": "…/global/networks/default"},
        {"name": "by-hand", "network": "…/global/networks/llm-endpoint-x"},
        {"name": "default-allow-ssh", "network": "…/global/networks/default"},
    ]
    google.on(FIREWALLS, (200, {"items": rules}))
    text = told(google, capsys)
    assert "forwarding rule k8s2-a (203.0.113.7)\n" in text
    assert "forwarding-rules delete k8s2-a --region europe-west4" in text
    assert "network endpoint group k8s1-n, bills nothing" in text
    assert "firewall-rules delete k8s2-a-fw --project my-project --quiet" in text
    assert "k8s2-b" not in text
    assert "gke-llm-endpoint-x" not in text
    assert f"scripts.gke.leftovers --cluster {CLUSTER} --namespace llm\n" in text
    whole = told(google, capsys, "--whole")
    assert "gke-llm-endpoint-x-0f1e-all" in whole
    assert "by-hand" in whole
    assert "default-allow-ssh" not in whole
    assert "--namespace llm --whole\n" in whole


def test_what_lies_elsewhere_is_of_another_cluster(
    google: FakeApis, capsys: pytest.CaptureFixture[str]
):
    rule = {
        "name": "a123",
        "description": json.dumps({"kubernetes.io/service-name": "llm/gateway"}),
    }
    put(google, "forwardingRules", "regions/europe-west1", rule)
    put(google, "disks", "zones/europe-west4-b", disk("pvc-theirs", "llm", cluster=None))
    assert told(google, capsys) == "Nothing is left of the namespace llm in Compute Engine.\n"
    put(google, "forwardingRules", "regions/europe-west4", rule)
    said = told(google, capsys)
    assert "forwarding rule a123" in said
    assert "another cluster in the project with the namespace llm?" in said


def test_every_page_is_looked_at(google: FakeApis, capsys: pytest.CaptureFixture[str]):
    def pages(asked: Asked) -> tuple[int, Any]:
        if asked.query.get("pageToken") == ["2"]:
            return 200, {"items": {"zones/europe-west4-a": {"disks": [disk("pvc-late", "llm")]}}}
        return 200, {"items": {}, "nextPageToken": "2"}

    google.on(KINDS["disks"], pages)
    assert "pvc-late" in told(google, capsys)


def test_google_that_does_not_tell_is_said_to_be_that(
    google: FakeApis, capsys: pytest.CaptureFixture[str]
):
    google.on(KINDS["disks"], refusal(403, "no permission"))
    assert told(google, capsys, status=1) == (
        "note: whether disks or forwarding rules are left can't be told: HTTP 403: no permission\n"
    )


def test_two_namespaces_are_looked_through_at_once(
    google: FakeApis, capsys: pytest.CaptureFixture[str]
):
    ours = [disk("pvc-a", "llm"), disk("pvc-b", "colab-llm-cpu"), disk("pvc-c", "web")]
    put(google, "disks", "zones/europe-west4-a", *ours)
    more = ("--namespace", "colab-llm-cpu")
    text = told(google, capsys, *more)
    assert text.startswith("Left of the namespaces llm and colab-llm-cpu in Compute Engine")
    assert ("disk pvc-a" in text, "disk pvc-b" in text, "disk pvc-c" in text) == (True, True, False)
    google.on(KINDS["disks"], (200, {"items": {}}))
    nothing = "Nothing is left of the namespaces llm and colab-llm-cpu in Compute Engine.\n"
    assert told(google, capsys, *more) == nothing


def resource(kind: str, **more: Any) -> Any:
    return {"urn": f"urn:pulumi:s::p::{kind}::n", "type": kind, **more}


def test_whose_leftovers_are_meant_stands_in_the_state():
    cluster = resource("llm-endpoint:gcp:Cluster", inputs={"cluster": CLUSTER})
    namespace = resource("kubernetes:core/v1:Namespace", id="llm")
    export: exported.Export = {"deployment": {"resources": [cluster, namespace]}}
    assert leftovers.sought(export) == tuple(ARGUMENTS)
    made = resource("gcp:container/cluster:Cluster")
    export = {"deployment": {"resources": [cluster, made, namespace]}}
    assert leftovers.sought(export) == (*ARGUMENTS, "--whole")
    for none in ([], [cluster], [namespace], [resource("gcp:compute/instance:Instance")]):
        assert leftovers.sought({"deployment": {"resources": none}}) == ()
