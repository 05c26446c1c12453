"""What a program and its state see of pulumi-kubernetes, on the real engine.

The API server is a fake one; `tests/real` has a real one for the objects of a stack.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_authority import make_authority
from fake_kubernetes import FakeKubernetes
from fake_objects import Key
from plugin_client import SIGNATURE

from emulator.plugin.serving import published_version
from scripts.bootstrap import pins, pulumi_cli
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import cache_root, this_checkout
from scripts.bootstrap.published import Releases

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TOKEN = "ya29.the-token-of-the-test"
PROGRAM = """\
import json
import os

import pulumi

program = json.loads(open("program.json").read())
provider = pulumi.ProviderResource(
    "kubernetes", "cluster", {
        "kubeconfig": pulumi.Output.secret(json.dumps(program["kubeconfig"])),
        "clusterIdentifier": "projects/p/locations/l/clusters/c",
        **program["settings"],
    }, pulumi.ResourceOptions(version=os.environ["VERSION"]))
made = []
for manifest in program["objects"]:
    kind, version = manifest["kind"], manifest["apiVersion"]
    if kind == "Secret":
        manifest["stringData"] = {
            name: pulumi.Output.secret(value) for name, value in manifest["stringData"].items()}
    made.append(pulumi.CustomResource(
        f"kubernetes:{version if '/' in version else 'core/' + version}:{kind}",
        kind.lower() + "-" + manifest["metadata"]["name"], manifest,
        pulumi.ResourceOptions(provider=provider, depends_on=made[:1])))
"""
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "llm"}}


def named(name: str, **annotations: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "llm",
        **({"annotations": annotations} if annotations else {}),
    }


def config_map(text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": named("texts"),
        "data": {"text": text},
    }


def secret(text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": named("keys"),
        "stringData": {"key": text},
    }


def workload(
    kind: str, image: str = "a", annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    labels = {"app": kind.lower()}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": named(kind.lower(), **(annotations or {})),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }


def stateful_set(image: str = "a", **spec: Any) -> dict[str, Any]:
    at_once = {"pulumi.com/waitFor": "jsonpath={.metadata.uid}"}
    return workload("StatefulSet", image, serviceName="pods", annotations=at_once, **spec)


@dataclass
class Project:
    """A project with a stack of its own, and the cluster that its objects are for."""

    folder: Path
    environment: dict[str, str]
    cluster: FakeKubernetes
    settings: dict[str, str] = field(
        default_factory=lambda: {"enableConfigMapMutable": "true", "enableSecretMutable": "true"}
    )

    def declare(self, *objects: dict[str, Any]) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": self._cluster()}],
            "users": [{"name": "it", "user": {"exec": self._credential()}}],
        }
        written = {"kubeconfig": config, "settings": self.settings, "objects": [*objects]}
        (self.folder / "program.json").write_text(json.dumps(written))

    def _cluster(self) -> dict[str, str]:
        (self.folder / "ca.pem").write_text(self.cluster.authority)
        return {
            "server": self.cluster.server,
            "certificate-authority": str(self.folder / "ca.pem"),
        }

    def _credential(self) -> dict[str, Any]:
        version = "client.authentication.k8s.io/v1"
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": TOKEN}}
        code = f"import os; print({json.dumps(answer)!r}); open('asked', 'a').write('x')"
        return {
            "apiVersion": version,
            "command": sys.executable,
            "args": ["-c", code],
            "interactiveMode": "Never",
        }

    def pulumi(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def up(self, *objects: dict[str, Any], status: int = 0) -> str:
        self.declare(*objects)
        return self.pulumi("up", "--yes", "--skip-preview", status=status)

    def same(self) -> None:
        self.pulumi("preview", "--refresh", "--expect-no-changes")

    def state(self) -> dict[str, dict[str, Any]]:
        exported = json.loads(self.pulumi("stack", "export", "--show-secrets"))
        return {
            it["urn"].rpartition("::")[2]: it for it in exported["deployment"].get("resources", [])
        }


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = this_checkout()
    pinned = pins.load(checkout.root / "pins.toml")
    releases = Releases(pinned.release, cache_root(os.environ))
    memory = Memory(tmp_path_factory.mktemp("memory") / "answers.json")
    return pulumi_cli.choose(checkout, pinned, releases, os.environ, memory).program


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeKubernetes]:
    authority = make_authority(tmp_path)
    with FakeKubernetes(authority.context(), authority.path, TOKEN) as cluster:
        yield cluster


@pytest.fixture
def project(cli: Path, tmp_path: Path, cluster: FakeKubernetes) -> Project:
    plugin, version = tmp_path / "plugin", published_version("pulumi_kubernetes")
    plugin.mkdir()
    launcher = plugin / "pulumi-resource-kubernetes"
    stand_in = [sys.executable, "-I", str(this_checkout().root / "emulator" / "kubernetes")]
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(stand_in)} "$@"\n')
    launcher.chmod(0o755)
    for name in ("home", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: contract\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    project = Project(
        tmp_path,
        {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{cli.parent}:{os.environ['PATH']}",
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "contract",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "VERSION": version,
        },
        cluster,
    )
    project.pulumi("plugin", "install", "resource", "kubernetes", version, "--file", str(plugin))
    project.pulumi("stack", "init", "dev")
    return project


def test_objects_are_made_once_changed_in_place_and_gone_in_the_end(project: Project):
    project.declare(NAMESPACE, config_map("one"), secret("hidden-value"))
    assert "+ 5 to create" in project.pulumi("preview")
    assert project.cluster.objects("Namespace") == {}
    project.up(NAMESPACE, config_map("one"), secret("hidden-value"))
    state = project.state()
    assert state["configmap-texts"]["id"] == "llm/texts"
    assert state["namespace-llm"]["id"] == "llm"
    assert state["configmap-texts"]["outputs"]["metadata"]["uid"]
    for half in ("inputs", "outputs"):
        assert state["secret-keys"][half]["data"][SIGNATURE]
    assert "hidden-value" not in project.pulumi("stack", "export")
    project.same()

    before = project.cluster.objects("ConfigMap")["texts"]["metadata"]["uid"]
    project.up(NAMESPACE, config_map("two"), secret("hidden-value"))
    (changed,) = project.cluster.objects("ConfigMap").values()
    assert (changed["data"], changed["metadata"]["uid"]) == ({"text": "two"}, before)
    project.same()

    project.cluster.update("ConfigMap", "texts", {"data": {"text": "drifted"}}, "somebody")
    shown = project.pulumi("preview", "--refresh", "--diff", status=255)
    assert '~ text: "drifted" => "two"' in shown
    assert 'conflict with "somebody": .data.text' in shown
    project.pulumi("destroy", "--yes")
    assert project.cluster.objects("Namespace") == {}


def test_a_config_map_of_the_same_name_takes_the_others_place_unless_it_may_change(
    project: Project,
):
    project.settings = {}
    project.up(NAMESPACE, config_map("one"))
    project.cluster.journal.clear()
    project.up(NAMESPACE, config_map("two"))
    assert project.cluster.journal == ["DELETE ConfigMap texts", "POST ConfigMap texts"]


def test_what_is_there_already_is_not_taken_over(project: Project):
    project.up(NAMESPACE)
    there = Key("v1", "configmaps", "llm", "texts")
    project.cluster.store.create(there, config_map("theirs"), "somebody")
    said = project.up(NAMESPACE, config_map("ours"), status=255)
    assert "already exists" in said
    assert project.cluster.objects("ConfigMap")["texts"]["data"] == {"text": "theirs"}


def test_replicas_that_nobody_declares_stay_with_whoever_scales(project: Project):
    project.up(NAMESPACE, stateful_set())
    project.same()
    project.cluster.update("StatefulSet", "statefulset", {"spec": {"replicas": 3}}, "a-scaler")
    project.same()
    project.up(NAMESPACE, stateful_set(image="b"))
    spec = project.cluster.objects("StatefulSet")["statefulset"]["spec"]
    assert spec["replicas"] == 3
    assert spec["template"]["spec"]["containers"][0]["image"] == "b"
    said = project.up(NAMESPACE, stateful_set(image="b", replicas=1), status=255)
    assert 'conflict with "a-scaler": .spec.replicas' in said


def test_what_cannot_be_changed_is_replaced_the_old_one_first(project: Project):
    project.up(NAMESPACE, stateful_set(podManagementPolicy="Parallel"))
    project.cluster.journal.clear()
    project.up(NAMESPACE, stateful_set(podManagementPolicy="OrderedReady"))
    assert project.cluster.journal == [
        "DELETE StatefulSet statefulset",
        "POST StatefulSet statefulset",
    ]


def test_a_deployment_that_does_not_become_ready_is_in_the_state_and_repaired_later(
    project: Project,
):
    project.cluster.starts = False
    late = workload("Deployment", annotations={"pulumi.com/timeoutSeconds": "1"})
    said = project.up(NAMESPACE, late, status=255)
    assert "0 of 1 pods are available" in said
    assert project.state()["deployment-deployment"]["id"] == "llm/deployment"
    project.cluster.starts = True
    project.up(NAMESPACE, late)
    project.same()


def test_a_cluster_that_is_gone_is_said_to_be_and_its_objects_forgotten_when_told_so(
    project: Project,
):
    project.up(NAMESPACE)
    project.cluster.token = "another"
    said = project.pulumi("refresh", "--yes", status=255)
    assert "PULUMI_K8S_DELETE_UNREACHABLE" in said
    project.environment["PULUMI_K8S_DELETE_UNREACHABLE"] = "true"
    project.pulumi("refresh", "--yes")
    assert "namespace-llm" not in project.state()
