"""scripts/up, down and colab for a stack with a notebook runtime."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_machine import CHECKOUT, Machine, make_machine, write_program
from fake_runtime import TOKEN

from scripts.bootstrap import exported, leftovers, summary

ENDPOINT = "https://gateway.llm.svc.cluster.local"
VIA = "kubernetes:colab-llm-cpu/colab-runtime/9000"
ACCESS = '{"server": "https://gke-1.gke.goog", "certificate_authority": null}'
OUTPUTS: dict[str, Any] = {
    "endpoint_url": ENDPOINT,
    "model": "m",
    "ca_certificate": "PEM",
    "cluster": ACCESS,
    "verification": {
        "verified_at": "2126-01-01T00:00:00+00:00",
        "boot": "kubernetes:llm",
        "via": "kubernetes:llm/gateway/443",
    },
    "runtime": {"status": "passed", "verified_at": "2026-01-01", "via": VIA},
    "colab_url": f"http://127.0.0.1:9000/?token={TOKEN}",
}
FAKE_VERIFY = """
import os, sys
print("arguments:", *sys.argv[1:], file=sys.stderr)
for name in ("LLM_ENDPOINT_CLUSTER", "LLM_ENDPOINT_RUNTIME_TOKEN"):
    print(name, len(os.environ[name]), file=sys.stderr)
print("the receipt")
sys.exit(int(os.environ.get("VERIFY_STATUS", "0")))
"""
FAKE_FORWARD = """
import os, sys
print("way:", *sys.argv[1:], "in", os.getcwd())
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = make_machine(tmp_path)
    machine.put_stack("gke-colab")
    scripts = machine.root / "scripts"
    shutil.copy(CHECKOUT / "scripts" / "colab", scripts / "colab")
    write_program(machine.root / "stacks" / "gke_colab.yaml", "")
    write_program(scripts / "resolve" / "__main__.py", "print('{}')")
    write_program(scripts / "runtime" / "verify.py", FAKE_VERIFY)
    write_program(scripts / "runtime" / "forward.py", FAKE_FORWARD)
    return machine


def test_a_runtime_that_was_not_changed_is_verified_again(machine: Machine):
    machine.put_outputs(**OUTPUTS)
    up = machine.run("scripts/up", "gke-colab")
    assert up.returncode == 0, up.stderr
    # The endpoint had just been.
    assert machine.verifications == []
    assert (
        f"arguments: --json --if-passed --via {VIA} --wait-seconds 1200 --stack gke-colab\n"
        in up.stderr
    )
    assert f"LLM_ENDPOINT_CLUSTER {len(ACCESS)}\n" in up.stderr
    assert f"LLM_ENDPOINT_RUNTIME_TOKEN {len(TOKEN)}\n" in up.stderr
    assert "the receipt" not in up.stdout
    assert "\n  scripts/colab gke-colab\n" in up.stdout
    assert TOKEN not in up.stdout + up.stderr


def test_a_runtime_that_does_not_work_any_more_fails_the_up(machine: Machine):
    machine.put_outputs(**OUTPUTS)
    up = machine.run("scripts/up", "gke-colab", VERIFY_STATUS="3")
    assert up.returncode == 1
    assert "the notebook runtime does not answer as it should" in up.stderr
    assert "then scripts/up gke-colab" in up.stderr


@pytest.mark.parametrize(
    "runtime",
    [{"status": "parked"}, {"verified_at": "2126-01-01T00:00:00+00:00", "via": VIA}],
)
def test_a_runtime_that_is_parked_or_was_just_verified_is_not_asked(
    machine: Machine, runtime: dict[str, Any]
):
    machine.put_outputs(**{**OUTPUTS, "runtime": runtime})
    up = machine.run("scripts/up", "gke-colab")
    assert up.returncode == 0, up.stderr
    assert "arguments:" not in up.stderr
    parked = "The notebook runtime is parked, and its disks are kept." in up.stdout
    assert parked == (runtime.get("status") == "parked")


def closing(**changed: Any) -> str:
    outputs = summary.read({**OUTPUTS, **changed})
    assert TOKEN not in repr(outputs) + repr(outputs.runtime)
    return "\n".join(summary.closing_lines(outputs, "mine", "scripts/pulumi", None))


def test_the_end_says_how_to_get_to_the_runtime():
    assert "  scripts/colab mine\n" in closing()
    alone = closing(endpoint_url=None)
    assert alone.startswith("the endpoint of mine is parked")
    assert "  scripts/colab mine\n" in alone
    assert "scripts/colab" not in closing(runtime=None)
    assert TOKEN not in closing()


def test_colab_opens_the_way_to_its_own_stack_unless_another_is_named(machine: Machine):
    for words, passed in (
        ((), "gke-colab"),
        (("--port", "9100"), "gke-colab --port 9100"),
        (("mine", "--port=9100"), "mine --port=9100"),
    ):
        colab = machine.run("scripts/colab", *words)
        assert colab.returncode == 0, colab.stderr
        assert colab.stdout == f"way: {passed} in {machine.root}\n"
    # It needs neither the CLI nor a backend for that: reading the outputs sees to them.
    assert machine.pulumi_calls == []


def test_down_says_that_backups_in_ones_own_bucket_stay(machine: Machine):
    machine.put_outputs(**OUTPUTS)
    machine.put_resources({"urn": "urn:pulumi:s::p::gcp:x:X::x", "type": "gcp:x:X"})
    said = "The notebook runtime's backups stay in gs://mine/colab, which is not the stack's"
    assert said not in machine.run("scripts/down", "gke-colab").stdout
    config = "config:\n  llm-endpoint:runtime_backup: gs://mine/colab\n"
    write_program(machine.root / "stacks" / "Pulumi.gke-colab.yaml", config)
    down = machine.run("scripts/down", "gke-colab")
    assert down.returncode == 0, down.stderr
    assert said in down.stdout
    assert said not in machine.run("scripts/down", "gke-colab", "--target=x").stdout


def test_down_looks_for_what_is_left_of_both_namespaces():
    def resource(kind: str, **more: Any) -> Any:
        return {"urn": f"urn:pulumi:s::p::{kind}::n", "type": kind, **more}

    cluster = "projects/p/locations/l/clusters/n"
    made = [
        resource("llm-endpoint:gcp:Cluster", inputs={"cluster": cluster}),
        resource("kubernetes:core/v1:Namespace", id="llm"),
        resource("kubernetes:core/v1:Namespace", id="colab-llm-cpu"),
    ]
    export: exported.Export = {"deployment": {"resources": made}}
    assert leftovers.sought(export) == (
        *("--cluster", cluster),
        *("--namespace", "colab-llm-cpu", "--namespace", "llm"),
    )
