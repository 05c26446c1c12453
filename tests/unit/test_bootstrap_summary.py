"""What scripts/up and scripts/down say at the end."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from scripts.bootstrap import summary

KEY = "sk-not-to-be-seen"
OUTPUTS: dict[str, object] = {
    "state": "serving",
    "endpoint_url": "http://127.0.0.1:8080",
    "model": "it's a model",
    "api_key": KEY,
    "verification": {"verified_at": "2026-11-21T10:00:00Z", "model": {"notice": "STAND-IN: …"}},
    "billing": [
        {"resource": "a VM", "running": True, "parked": False},
        {"resource": "a disk", "running": True, "parked": True},
        {"resource": "a network", "running": False, "parked": False},
    ],
}


def test_the_curl_line_works_as_pasted(tmp_path: Path):
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done\n', encoding="utf-8")
    curl.chmod(0o755)
    line = summary.curl("http://127.0.0.1:8080", "it's a model", "echo the key", tmp_path / "ä ca")
    ran = subprocess.run(
        ["sh", "-c", line],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = ran.stdout.splitlines()
    assert words[:-1] == [
        *("-sS", "http://127.0.0.1:8080/v1/chat/completions"),
        *("--cacert", str(tmp_path / "ä ca")),
        *("-H", "Authorization: Bearer the key", "-H", "Content-Type: application/json", "-d"),
    ]
    assert json.loads(words[-1]) == {
        "model": "it's a model",
        "messages": [{"role": "user", "content": "Hello!"}],
    }


def closing(outputs: dict[str, object]) -> str:
    return "\n".join(summary.closing_lines(summary.read(outputs), "local", "scripts/pulumi", None))


def test_the_end_names_endpoint_model_key_and_notice_and_not_the_key_itself():
    said = closing(OUTPUTS)
    assert "endpoint: http://127.0.0.1:8080/v1\n" in said
    assert "model:    it's a model\n" in said
    key_command = "scripts/pulumi stack output api_key --show-secrets --stack local"
    assert f"key:      {key_command}\n" in said
    assert f'"Authorization: Bearer $({key_command})"' in said
    assert said.endswith("STAND-IN: …")
    assert KEY not in said
    assert KEY not in repr(summary.read(OUTPUTS))


def test_a_parked_stack_is_said_to_serve_nothing():
    parked = {**OUTPUTS, "state": "parked", "endpoint_url": None}
    assert closing(parked).startswith("local is parked")
    assert "curl" not in closing(parked)


def test_what_bills_is_named():
    billing = summary.read(OUTPUTS).billing
    assert billing == ("a VM", "a disk")
    down = summary.what_bills(billing, all_gone=True, stack="x", pulumi=shlex.quote("p q"))
    assert down == "x is down. Nothing of it bills any more (what did: a VM, a disk)."
    left = summary.what_bills(billing, all_gone=False, stack="x", pulumi="p")
    assert "What may still bill: a VM, a disk." in left
    assert "p stack --stack x" in left


@pytest.mark.parametrize("outputs", [{}, {"verification": "x", "billing": "y", "api_key": 1}])
def test_outputs_that_a_stack_lacks_are_not_invented(outputs: dict[str, object]):
    read = summary.read(outputs)
    assert (read.url, read.key, read.billing, read.verified_at) == (None, None, (), "")


def test_a_cluster_that_keeps_its_data_goes_on_billing():
    said = summary.what_bills(
        ("cluster fee", "system node"),
        all_gone=True,
        stack="gke-ovms",
        pulumi="scripts/pulumi",
        kept=("Namespace gke-ovms-namespace",),
        with_cluster=True,
    )
    assert "What goes on billing: cluster fee, system node." in said
    assert "config set keep_data false --stack gke-ovms, scripts/up gke-ovms, then" in said
    assert "the rest does not" not in said


REGISTRY: dict[str, object] = {
    "state": "serving",
    "endpoint_url": None,
    "openai_base_url": None,
    "registry": "s3://models?endpoint=https://s3.example.org&region=r",
    "models": ["resnet50@1", "resnet50@2"],
    "verification": {"status": "passed"},
    "billing": [{"resource": "a bucket", "running": True, "parked": True}],
}


def test_a_registry_says_what_to_type_to_serve_from_it():
    said = closing(REGISTRY)
    quoted = shlex.quote(str(REGISTRY["registry"]))
    assert "models:   resnet50@1, resnet50@2\n" in said
    lines = [line.strip() for line in said.splitlines() if "config set" in line]
    assert lines == [
        f"scripts/pulumi config set registry {quoted} --stack gke-ovms",
        "scripts/pulumi config set registry_key_id --secret --stack gke-ovms",
        "scripts/pulumi config set registry_secret_key --secret --stack gke-ovms",
        "scripts/pulumi config set classic_models 'resnet50@1 resnet50@2' --stack gke-ovms",
    ]
    assert "parked" not in said
    assert "curl" not in said


def test_a_language_model_is_no_classic_one():
    checked = [
        {"model": "resnet50@1", "language_model": False},
        {"model": "resnet50@2"},
        {"model": "small@1", "language_model": True},
    ]
    models = [one["model"] for one in checked]
    said = closing({**REGISTRY, "models": models, "verification": {"models": checked}})
    assert "config set model registry:small@1 --stack gke-ovms" in said
    assert "config set classic_models 'resnet50@1 resnet50@2' --stack gke-ovms" in said
    only = {"models": ["small@1"], "verification": {"models": checked[2:]}}
    assert "classic_models" not in closing({**REGISTRY, **only})


def test_an_empty_registry_says_how_to_fill_it_and_googles_asks_for_no_access_key():
    empty = closing({**REGISTRY, "models": [], "registry": "gs://b"})
    assert 'scripts/pulumi config set uploads "NAME@1=FOLDER" --stack local' in empty
    assert "registry_key_id" not in closing({**REGISTRY, "registry": "gs://b"})


def test_a_kept_bucket_is_deleted_by_way_of_another_up():
    said = summary.what_bills(
        ["a bucket"], all_gone=True, stack="x", pulumi="p", kept=["x-bucket"], with_bucket=True
    )
    assert "x is down but for what is protected (keep_data): x-bucket." in said
    assert "p config set keep_data false --stack x, scripts/up x, then scripts/down x" in said
    assert "unprotect" not in said
