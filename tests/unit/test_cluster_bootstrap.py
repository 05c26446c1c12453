"""scripts/up and down for a stack in a cluster, and the way to an endpoint inside of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import TOKEN, FakeCluster
from fake_machine import KEY, Machine, make_machine, write_program

from scripts.bootstrap import summary
from scripts.bootstrap.places import Checkout
from scripts.gke import forward

URL = "https://gateway.llm.svc.cluster.local"
VIA = "kubernetes:llm/gateway/443"
ACCESS = '{"server": "https://gke-1.gke.goog", "certificate_authority": null}'
CLUSTER = "projects/p/locations/europe-west4-a/clusters/llm-endpoint-gke-ovms"
FAKE_LEFTOVERS = """
import sys
print("leftovers:", *sys.argv[1:])
"""
RECEIPT = {"verified_at": "2026-01-01", "boot": "kubernetes:llm", "via": VIA}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = make_machine(tmp_path)
    machine.put_stack("gke-ovms")
    scripts = machine.root / "scripts"
    write_program(machine.root / "stacks" / "gke_ovms.yaml", "")
    write_program(scripts / "resolve" / "__main__.py", "print('{}')")
    write_program(scripts / "gke" / "leftovers.py", FAKE_LEFTOVERS)
    return machine


def put_serving(machine: Machine, **more: Any) -> None:
    outputs = {
        "endpoint_url": URL,
        "model": "m",
        "ca_certificate": "PEM",
        "cluster": ACCESS,
        "verification": RECEIPT,
    }
    machine.put_outputs(**{**outputs, **more})


def test_an_endpoint_that_was_not_changed_is_verified_on_its_way(machine: Machine):
    put_serving(machine)
    up = machine.run("scripts/up", "gke-ovms")
    assert up.returncode == 0, up.stderr
    [(arguments, key)] = machine.verifications
    assert key == KEY
    assert arguments[arguments.index("--via") + 1] == VIA
    assert arguments[arguments.index("--boot") + 1] == "kubernetes:llm"
    assert f"cluster: {ACCESS}" in up.stderr
    assert "python -m scripts.gke.forward gke-ovms" in up.stdout
    assert "curl" not in up.stdout


def put_state(machine: Machine, **cluster: Any) -> None:
    urn = "urn:pulumi:gke-ovms::llm-endpoint::"
    machine.put_resources(
        {
            "urn": f"{urn}llm-endpoint:gcp:Cluster::c",
            "type": "llm-endpoint:gcp:Cluster",
            "inputs": {"cluster": CLUSTER},
        },
        {
            "urn": f"{urn}gcp:container/cluster:Cluster::c",
            "type": "gcp:container/cluster:Cluster",
            **cluster,
        },
        {
            "urn": f"{urn}kubernetes:core/v1:Namespace::n",
            "type": "kubernetes:core/v1:Namespace",
            "id": "llm",
        },
    )


def test_down_looks_for_what_is_left_of_the_cluster(machine: Machine):
    put_state(machine)
    down = machine.run("scripts/down", "gke-ovms")
    assert down.returncode == 0, down.stderr
    assert down.stdout.splitlines()[-2:] == [
        "gke-ovms is down. Nothing of it bills any more.",
        f"leftovers: --cluster {CLUSTER} --namespace llm --whole",
    ]


def test_down_that_keeps_data_says_that_disks_are_kept(machine: Machine):
    put_state(machine, protect=True)
    down = machine.run("scripts/down", "gke-ovms")
    assert f"leftovers: --cluster {CLUSTER} --namespace llm --whole --kept" in down.stdout


def test_down_of_a_part_or_of_another_stack_looks_for_nothing(machine: Machine):
    put_state(machine)
    assert "leftovers:" not in machine.run("scripts/down", "gke-ovms", "--target=x").stdout
    machine.put_resources({"urn": "urn:x::y::gcp:storage/bucket:Bucket::b"})
    assert "leftovers:" not in machine.run("scripts/down", "gke-ovms").stdout


def need_missing_plugin(machine: Machine) -> None:
    """Make the stack one that needs a plugin that is not here."""
    package = machine.root / ".venv/lib/python3/site-packages/pulumi_gcp"
    package.mkdir()
    about = {"resource": True, "name": "gcp", "version": "9.7.0"}
    (package / "pulumi-plugin.json").write_text(json.dumps(about), encoding="utf-8")


def test_down_of_a_stack_without_resources_needs_no_plugins(machine: Machine):
    need_missing_plugin(machine)
    down = machine.run("scripts/down", "gke-ovms")
    assert down.returncode == 0, down.stderr
    assert down.stdout.splitlines() == [
        "gke-ovms has no resources: there is nothing to remove, and nothing of it bills.",
        "To forget it, with its configuration: scripts/pulumi stack rm gke-ovms",
    ]
    assert not any(call.startswith("destroy") for call in machine.pulumi_calls)


def test_down_that_forgets_the_stack_does_so_without_plugins(machine: Machine):
    need_missing_plugin(machine)
    down = machine.run("scripts/down", "gke-ovms", "--remove")
    assert down.returncode == 0, down.stderr
    assert "destroy" in machine.pulumi_calls[-1]
    assert "--remove" in machine.pulumi_calls[-1]


def test_down_of_what_an_up_that_failed_early_leaves_needs_no_plugins(machine: Machine):
    need_missing_plugin(machine)
    kind = "pulumi:pulumi:Stack"
    machine.put_resources({"urn": f"urn:pulumi:gke-ovms::llm-endpoint::{kind}::s", "type": kind})
    down = machine.run("scripts/down", "gke-ovms")
    assert down.returncode == 0, down.stderr
    assert machine.pulumi_calls[-1].startswith("destroy")


def test_down_of_a_stack_with_resources_says_which_plugins_it_lacks(machine: Machine):
    need_missing_plugin(machine)
    put_state(machine)
    down = machine.run("scripts/down", "gke-ovms")
    assert down.returncode == 1
    assert "scripts/pulumi plugin install resource gcp 9.7.0 --file" in down.stderr
    assert not any(call.startswith("destroy") for call in machine.pulumi_calls)


def test_down_of_a_stack_that_was_only_begun_is_not_taken_for_empty(machine: Machine):
    need_missing_plugin(machine)
    begun = {"type": "creating", "resource": {"urn": "urn:x::y::gcp:storage/bucket:Bucket::b"}}
    state = {"deployment": {"resources": [], "pending_operations": [begun]}}
    (machine.other / "export.json").write_text(json.dumps(state), encoding="utf-8")
    down = machine.run("scripts/down", "gke-ovms")
    assert down.returncode == 1
    assert "gcp 9.7.0" in down.stderr


def fake_checkout(
    folder: Path, outputs: dict[str, Any], status: int = 0, said: str = "no such stack"
) -> Checkout:
    """Return a checkout whose scripts/pulumi tells `outputs`, and says `said` beside them."""
    (folder / "said").write_text(said, encoding="utf-8")
    (folder / "outputs.json").write_text(json.dumps(outputs), encoding="utf-8")
    script = folder / "scripts" / "pulumi"
    script.parent.mkdir()
    text = f'#!/bin/sh\ncat "{folder}/outputs.json"\ncat "{folder}/said" >&2\nexit {status}\n'
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    return Checkout(folder)


def outputs_of(cluster: FakeCluster) -> dict[str, Any]:
    return {
        "endpoint_url": URL,
        "model": "m",
        "cluster": cluster.access.as_json(),
        "verification": RECEIPT,
    }


def test_a_way_stays_open_while_it_is_waited_and_says_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said: list[str] = []
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", 1)
        checkout = fake_checkout(tmp_path, outputs_of(cluster))
        (checkout.make_state() / "gke-ovms-ca.pem").write_text("PEM")
        environment = cluster.environment
        forward.forward(
            "gke-ovms", 0, checkout, environment, lambda: said.append(capsys.readouterr().out)
        )
    (text,) = said
    first = text.splitlines()[0]
    port = first.removeprefix(f"{URL} is open at 127.0.0.1:").partition(" ")[0]
    assert port.isdigit()
    assert f"--connect-to ::127.0.0.1:{port}" in text
    assert f"curl -sS {URL}/v1/chat/completions --cacert" in text
    assert f"https://localhost:{port}/v1 as the URL and {checkout.state}" in text
    assert TOKEN not in text


def test_a_pod_that_is_not_ready_yet_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", 1)
        cluster.put_endpoints({"gateway-1": False})
        checkout = fake_checkout(tmp_path, outputs_of(cluster))
        forward.forward("gke-ovms", 0, checkout, cluster.environment, lambda: None)
    assert "note: no pod behind llm/gateway:443 is ready" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"endpoint_url": None}, "serves nothing"),
        ({"verification": {}}, "can be reached as it is"),
        ({"cluster": "nonsense"}, "no JSON"),
    ],
)
def test_what_needs_no_way_or_has_none_is_said(changed: dict[str, Any], said: str):
    outputs = {"endpoint_url": URL, "cluster": ACCESS, "verification": RECEIPT, **changed}
    with pytest.raises(forward.NoWayError, match=said):
        forward.target(summary.read(outputs), "gke-ovms")


def test_outputs_that_can_not_be_read_are_said(tmp_path: Path):
    checkout = fake_checkout(tmp_path, {}, status=1)
    with pytest.raises(forward.NoWayError, match="no such stack") as caught:
        forward.read_outputs(checkout, "gke-ovms", {"PATH": "/usr/bin:/bin"})
    assert caught.value.next_step.endswith("scripts/pulumi stack ls")


NO_STACK = """\
Backend: file:///here (the default)
error: no stack named 'gke-ovms' found
"""
NO_PLACE = """\
Backend: file:///here (the default)
error: the cache can't be made
next: set another
"""


def test_a_stack_that_is_not_there_is_to_be_brought_up(tmp_path: Path):
    checkout = fake_checkout(tmp_path, {}, 1, NO_STACK)
    with pytest.raises(forward.NoWayError) as caught:
        forward.read_outputs(checkout, "gke-ovms", {"PATH": "/usr/bin:/bin"})
    assert str(caught.value) == "there is no stack gke-ovms"
    assert caught.value.next_step == "scripts/up gke-ovms"


def test_a_note_before_an_error_is_no_part_of_it(tmp_path: Path):
    checkout = fake_checkout(tmp_path, {}, 1, NO_PLACE)
    with pytest.raises(forward.NoWayError) as caught:
        forward.read_outputs(checkout, "gke-ovms", {"PATH": "/usr/bin:/bin"})
    assert str(caught.value) == "the outputs of gke-ovms can't be read: the cache can't be made"
    assert caught.value.next_step == "set another"
