"""What a cluster is sent of a Colab runtime: its pod, its disks, its door, what keeps its files."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from components.container_images import colab_images, pinned_colab_image
from components.models.registry import parse_registry_url
from components.rendering.kubernetes.colab import names
from components.rendering.kubernetes.colab.backups import KEEP, repository
from components.rendering.kubernetes.colab.plan import (
    BESIDE_MIB,
    BESIDE_MILLICPUS,
    Backup,
    ColabImages,
    ColabPlan,
)
from components.rendering.kubernetes.colab.render import render
from components.rendering.kubernetes.colab.runtime import DOOR_RESOURCES, GRACE_SECONDS
from components.rendering.kubernetes.plan import PodResources, Taint
from components.rendering.machine.places import FILES

Object = dict[str, Any]

GIB = 2**30
SCRIPTS = sorted((FILES / "colab").glob("*.sh"))
PLAN = ColabPlan(
    base_name="llm-endpoint-gke-colab",
    namespace="colab-llm-cpu",
    images=ColabImages(
        runtime="registry.example.org/colab:1",
        restic="registry.example.org/restic:1",
        caddy="registry.example.org/caddy:1",
        python="registry.example.org/python:1",
    ),
    resources=PodResources(20, 64 * GIB),
    taint=Taint("cloud.google.com/gke-spot", "true"),
    storage_class="premium-rwo",
    data_gb=100,
    libraries_gb=30,
    backup=Backup(parse_registry_url("gs://example-backups"), every_minutes=15),
)
ENDPOINT = replace(
    PLAN,
    endpoint="https://gateway.llm-endpoint.svc.cluster.local",
    endpoint_namespace="llm-endpoint",
)
S3 = replace(
    PLAN,
    backup=Backup(
        parse_registry_url(
            "s3://example-backups/team?endpoint=https://storage.example.org&region=ru-msk"
        ),
        every_minutes=30,
        has_secret=True,
    ),
)


def objects(plan: ColabPlan, kind: str) -> dict[str, Object]:
    found = [cast(Object, one) for one in render(plan).objects if one["kind"] == kind]
    return {one["metadata"]["name"]: one for one in found}


def pod(plan: ColabPlan) -> Object:
    return objects(plan, "Deployment")["colab-runtime"]["spec"]["template"]["spec"]


def container(plan: ColabPlan, name: str) -> Object:
    spec = pod(plan)
    (found,) = [
        one for one in (*spec.get("initContainers", ()), *spec["containers"]) if one["name"] == name
    ]
    return found


def environment(plan: ColabPlan, name: str) -> dict[str, Any]:
    return {
        one["name"]: one.get("value", one.get("valueFrom")) for one in container(plan, name)["env"]
    }


def test_the_namespace_comes_first_and_lets_root_in_but_nothing_of_the_node():
    (first, *_) = render(PLAN).objects
    assert first["kind"] == "Namespace"
    labels = objects(PLAN, "Namespace")["colab-llm-cpu"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"


def test_the_pod_has_no_token_of_the_cluster_and_nobody_s_rights():
    account = objects(PLAN, "ServiceAccount")["colab-runtime"]
    assert account["automountServiceAccountToken"] is False
    assert pod(PLAN)["automountServiceAccountToken"] is False
    assert pod(PLAN)["serviceAccountName"] == "colab-runtime"


def test_the_disks_are_claims_of_one_node_that_outlive_the_pod():
    claims = objects(PLAN, "PersistentVolumeClaim")
    sizes = {
        name: (one["spec"]["resources"]["requests"]["storage"], one["spec"]["accessModes"])
        for name, one in claims.items()
    }
    assert sizes == {
        "colab-data": ("100Gi", ["ReadWriteOnce"]),
        "colab-libraries": ("30Gi", ["ReadWriteOnce"]),
    }
    assert {one["spec"]["storageClassName"] for one in claims.values()} == {"premium-rwo"}
    mounts = {one["name"]: one["mountPath"] for one in container(PLAN, "runtime")["volumeMounts"]}
    assert mounts["colab-data"] == "/content"
    assert mounts["colab-libraries"] == "/opt/colab-libraries"


def test_one_pod_ends_before_the_next_begins_and_whoever_scales_says_how_many():
    spec = objects(PLAN, "Deployment")["colab-runtime"]["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    assert "replicas" not in spec


def test_the_pod_goes_to_the_stack_s_own_spot_nodes():
    assert pod(PLAN)["nodeSelector"] == {
        "llm-endpoint/pool": "llm-endpoint-gke-colab",
        "cloud.google.com/gke-spot": "true",
    }
    assert "cloud.google.com/gke-spot" not in pod(replace(PLAN, spot=False))["nodeSelector"]
    effects = [one["effect"] for one in pod(PLAN)["tolerations"]]
    assert effects == ["NoSchedule", "NoExecute", "NoExecute"]
    assert [one["effect"] for one in pod(replace(PLAN, taint=None))["tolerations"]] == [
        "NoExecute",
        "NoExecute",
    ]


def test_the_pod_asks_of_its_node_what_the_plan_says_and_no_more():
    assert container(PLAN, "runtime")["resources"] == {
        "requests": {"cpu": "19850m", "memory": "65216Mi"},
        "limits": {"cpu": "20", "memory": "65216Mi"},
    }
    others = [DOOR_RESOURCES, KEEP]
    assert sum(one.millicpus for one in others) == BESIDE_MILLICPUS == 20_000 - 19_850
    assert sum(one.mib for one in others) == BESIDE_MIB == 64 * 1024 - 65_216


def test_the_token_is_in_a_secret_alone_and_libraries_go_to_their_disk():
    found = environment(PLAN, "runtime")
    assert found["JUPYTER_TOKEN"] == {"secretKeyRef": {"name": "colab-token", "key": "token"}}
    assert found["PYTHONUSERBASE"] == "/opt/colab-libraries"
    assert found["PIP_USER"] == "1"
    assert "data" not in objects(PLAN, "Secret")["colab-token"]
    for plan in (PLAN, S3):
        for other in ("restore", "keep", "door"):
            assert "JUPYTER_TOKEN" not in environment(plan, other)


def test_probes_ask_jupyter_by_a_name_that_it_answers_to():
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container(PLAN, "runtime")[probe]["httpGet"]
        assert asked["path"] == "/api"
        assert asked["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


def test_the_service_leads_to_the_door_and_is_never_exposed():
    service = objects(PLAN, "Service")["colab-runtime"]["spec"]
    assert service["type"] == "ClusterIP"
    assert service["ports"] == [{"name": "door", "port": 9000, "targetPort": "door"}]
    (port,) = container(PLAN, "door")["ports"]
    assert port == {"name": "door", "containerPort": names.DOOR_PORT}
    door = container(PLAN, "door")["securityContext"]
    assert (door["runAsUser"], door["runAsNonRoot"]) == (5000, True)


def test_nobody_gets_in_but_the_parking_job_and_only_to_the_door():
    policies = objects(replace(PLAN, idle_minutes=240), "NetworkPolicy")
    assert set(policies) == {"default", "colab-runtime", "park"}
    everyone = policies["default"]["spec"]
    assert everyone["podSelector"] == {}
    assert not {"ingress", "egress"} & set(everyone)
    (rule,) = policies["colab-runtime"]["spec"]["ingress"]
    assert [one["port"] for one in rule["ports"]] == [names.DOOR_PORT]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "park"}}}
    ]
    assert "ingress" not in objects(PLAN, "NetworkPolicy")["colab-runtime"]["spec"]


def test_notebooks_reach_the_internet_and_the_endpoint_and_no_private_network():
    def egress(plan: ColabPlan) -> list[Object]:
        return objects(plan, "NetworkPolicy")["colab-runtime"]["spec"]["egress"]

    blocks = [
        peer["ipBlock"] for rule in egress(PLAN) for peer in rule.get("to", ()) if "ipBlock" in peer
    ]
    for block in blocks:
        if block["cidr"] == "0.0.0.0/0":
            assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(block["except"])
    assert {one["cidr"] for one in blocks} - {"0.0.0.0/0"} == {
        "169.254.169.252/32",
        "169.254.169.254/32",
    }
    assert "169.254" not in json.dumps(egress(S3)).replace("169.254.0.0/16", "")
    gateway = egress(ENDPOINT)[-1]
    (peer,) = gateway["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "llm-endpoint"
    }
    assert gateway["ports"] == [{"protocol": "TCP", "port": 8443}]


def test_storage_in_a_private_network_is_reached_by_its_address_alone():
    url = parse_registry_url("s3://example-backups?endpoint=http://10.20.0.5:9000")
    private = replace(PLAN, backup=Backup(url, 15, has_secret=True))
    rules = objects(private, "NetworkPolicy")["colab-runtime"]["spec"]["egress"]
    assert {
        "to": [{"ipBlock": {"cidr": "10.20.0.5/32"}}],
        "ports": [{"protocol": "TCP", "port": 9000}],
    } in rules


def test_a_notebook_knows_the_endpoint_and_its_authority_and_no_key():
    found = environment(ENDPOINT, "runtime")
    assert found["OPENAI_BASE_URL"] == "https://gateway.llm-endpoint.svc.cluster.local/v1"
    authority = found["LLM_ENDPOINT_CA"]
    mounts = {
        one["mountPath"]: one["name"] for one in container(ENDPOINT, "runtime")["volumeMounts"]
    }
    assert authority == "/etc/llm-endpoint/authority/ca.pem"
    assert mounts["/etc/llm-endpoint/authority"] == "authority"
    assert "data" not in objects(ENDPOINT, "ConfigMap")[names.AUTHORITY_CONFIG]
    # Else no other server would be trusted.
    assert not {"OPENAI_API_KEY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} & set(found)
    assert names.AUTHORITY_CONFIG not in objects(PLAN, "ConfigMap")
    assert "OPENAI_BASE_URL" not in environment(PLAN, "runtime")


def test_files_are_restored_before_the_others_begin_and_backed_up_after_they_have_ended():
    restore, keep = pod(PLAN)["initContainers"]
    assert (restore["name"], keep["name"]) == ("restore", "keep")
    assert "restartPolicy" not in restore
    # Beside the others from the start, and told to end after them.
    assert keep["restartPolicy"] == "Always"
    assert keep["lifecycle"]["preStop"]["exec"]["command"][:2] == [
        "sh",
        "/opt/llm-endpoint/colab/last.sh",
    ]
    assert "lifecycle" not in container(PLAN, "runtime")
    assert "lifecycle" not in container(PLAN, "door")
    assert pod(PLAN)["terminationGracePeriodSeconds"] == GRACE_SECONDS == 60


def test_only_restoring_writes_to_the_libraries_and_neither_has_more_of_root_than_it_needs():
    def writable(name: str) -> set[str]:
        mounts = container(PLAN, name)["volumeMounts"]
        return {one["name"] for one in mounts if not one.get("readOnly")}

    assert writable("restore") == {"colab-data", "colab-libraries", "tmp"}
    assert writable("keep") == {"colab-data", "tmp"}
    for name in ("restore", "keep"):
        security = container(PLAN, name)["securityContext"]
        assert security["capabilities"]["drop"] == ["ALL"]
        assert security["readOnlyRootFilesystem"] is True
    assert container(PLAN, "keep")["securityContext"]["capabilities"]["add"] == ["DAC_OVERRIDE"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("gs://bucket", "gs:bucket:/colab"),
        ("gs://bucket/team/a", "gs:bucket:/team/a/colab"),
        ("s3://bucket", "s3:https://s3.us-east-1.amazonaws.com/bucket/colab"),
        ("s3://bucket?region=eu-west-1", "s3:https://s3.eu-west-1.amazonaws.com/bucket/colab"),
        (
            "s3://bucket/team?endpoint=https://hb.ru-msk.vkcloud-storage.ru&region=ru-msk",
            "s3:https://hb.ru-msk.vkcloud-storage.ru/bucket/team/colab",
        ),
    ],
)
def test_restic_finds_its_repository_below_the_url(url: str, expected: str):
    assert repository(parse_registry_url(url)) == expected


def test_storage_is_asked_by_the_pod_s_identity_or_by_a_key_from_its_secret():
    by_identity = environment(PLAN, "keep")
    assert by_identity["GCE_METADATA_HOST"] == "169.254.169.254"
    assert not [name for name in by_identity if name.startswith("AWS_")]
    assert set(objects(PLAN, "Secret")) == {"colab-token"}
    by_key = environment(S3, "keep")
    assert by_key["AWS_DEFAULT_REGION"] == "ru-msk"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert by_key[name] == {"secretKeyRef": {"name": "colab-backup", "key": name}}
        assert name not in environment(S3, "runtime")
    assert set(objects(S3, "Secret")) == {"colab-token", "colab-backup"}
    assert by_key["LLM_ENDPOINT_BACKUP_SECONDS"] == "1800"


def test_without_a_backup_nothing_runs_before_the_notebook_server():
    bare = replace(PLAN, backup=None)
    assert "initContainers" not in pod(bare)
    assert names.SCRIPTS not in objects(bare, "ConfigMap")
    assert "169.254" not in json.dumps(
        objects(bare, "NetworkPolicy")["colab-runtime"]["spec"]["egress"]
    ).replace("169.254.0.0/16", "")


def test_a_changed_script_starts_the_pod_anew_and_nothing_else_does():
    def annotations(plan: ColabPlan) -> Object:
        template = objects(plan, "Deployment")["colab-runtime"]["spec"]["template"]
        return template["metadata"]["annotations"]

    assert re.fullmatch("[0-9a-f]{64}", annotations(PLAN)["llm-endpoint/configuration"])
    assert annotations(PLAN) == annotations(replace(PLAN, idle_minutes=10, keep_data=True))


def test_the_same_plan_renders_the_same_objects_as_yaml_without_anchors():
    plan = replace(ENDPOINT, idle_minutes=240)
    assert render(plan).files() == render(plan).files()
    for text in render(plan).files().values():
        assert "&id" not in text


def test_the_job_that_parks_is_there_where_the_plan_parks_and_its_code_with_it():
    assert objects(PLAN, "CronJob") == {}
    assert set(objects(replace(PLAN, idle_minutes=240), "CronJob")) == {"park"}


def test_the_pinned_images_are_named_and_one_of_one_s_own_is_taken_as_it_is():
    pinned = colab_images()
    assert pinned.runtime == pinned_colab_image()
    assert pinned.runtime.startswith("us-docker.pkg.dev/colab-images/public/cpu-runtime:release-")
    for image in (pinned.restic, pinned.caddy, pinned.python):
        assert re.search("@sha256:[0-9a-f]{64}$", image)
    assert colab_images("registry.example.org/mine:1").runtime == "registry.example.org/mine:1"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_are_sound_posix_shell(script: Path):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--shell=sh", "--external-sources", script],
        cwd=FILES.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_script_is_sent():
    sent = objects(PLAN, "ConfigMap")[names.SCRIPTS]["data"]
    assert sent == {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS}
