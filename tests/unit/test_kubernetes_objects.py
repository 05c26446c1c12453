"""The objects fit together: what refers to another finds it, and all can be applied in order."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering_kubernetes import (
    FULL,
    PLAIN,
    PLANS,
    Object,
    containers,
    kinds,
    objects,
    pod_templates,
    rendered,
)

from components.rendering.kubernetes.names import (
    CA_SECRET,
    HOST_CONFIG,
    KEYS_SECRET,
    REGISTRY_SECRET,
)
from components.rendering.kubernetes.render import render

LARGEST_CONFIG_MAP = 900_000
"""Bytes; etcd takes no object of more than a MiB or so."""

EVERY_PLAN = pytest.mark.parametrize("plan", PLANS)


def sources(volume: Object) -> list[tuple[str, str, set[str]]]:
    """What a volume is made of: kind, name, and the keys that it takes."""
    given = [volume, *volume.get("projected", {}).get("sources", ())]
    found: list[tuple[str, str, set[str]]] = []
    for one in given:
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if field in one:
                keys = {item["key"] for item in one[field].get("items", ())}
                name = one[field].get("name") or one[field]["secretName"]
                found.append((kind, name, keys))
    return found


def selected(found: list[Object], labels: dict[str, str]) -> set[str]:
    """Which pods have these labels, by what makes them."""
    return {
        name
        for name, template in pod_templates(found)
        if labels.items() <= template["metadata"]["labels"].items()
    }


def ports(found: list[Object], maker: str) -> dict[str, int]:
    template = dict(pod_templates(found))[maker]
    return {
        port["name"]: port["containerPort"]
        for each in containers(template)
        for port in each.get("ports", ())
    }


def code_items(template: Object) -> dict[str, str]:
    """The keys of the modules that a pod mounts, by their paths."""
    (volume,) = (each for each in template["spec"]["volumes"] if each["name"] == "code")
    return {item["path"]: item["key"] for item in volume["configMap"]["items"]}


def own_module(template: Object) -> str:
    """The module that one of a pod's containers runs."""
    commands = [each["command"] for each in containers(template)]
    return next(command[2] for command in commands if command[:2] == ["python3", "-m"])


@EVERY_PLAN
def test_the_namespace_is_first_and_refuses_pods_with_more_powers(plan: str):
    first, *others = objects(plan)
    assert first["kind"] == "Namespace"
    assert first["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"]["namespace"] for each in others} == {first["metadata"]["name"]}


@EVERY_PLAN
def test_every_object_is_named_once_and_as_kubernetes_takes_it(plan: str):
    names = [(each["kind"], each["metadata"]["name"]) for each in objects(plan)]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
        assert len(name) <= (52 if kind == "CronJob" else 63)


@EVERY_PLAN
def test_every_object_says_whose_it_is(plan: str):
    for each in objects(plan):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "llm-endpoint"
        assert labels["app.kubernetes.io/managed-by"] == "pulumi"
        assert labels["llm-endpoint/stack"] == PLANS[plan].base_name
        assert labels["app.kubernetes.io/name"]
        for value in labels.values():
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


@EVERY_PLAN
def test_what_a_pod_needs_of_the_namespace_is_there_before_it(plan: str):
    found = objects(plan)
    place = {(each["kind"], each["metadata"]["name"]): n for n, each in enumerate(found)}
    for name, template in pod_templates(found):
        own = place[name.partition("/")[0], name.partition("/")[2]]
        spec = template["spec"]
        assert place["ServiceAccount", spec["serviceAccountName"]] < own
        for volume in spec["volumes"]:
            for kind, source, keys in sources(volume):
                assert place[kind, source] < own
                data = found[place[kind, source]].get("data")
                assert data is None or keys <= data.keys()
        for each in containers(template):
            for variable in each["env"]:
                for reference, source in variable.get("valueFrom", {}).items():
                    kind = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}[reference]
                    assert place[kind, source["name"]] < own


@EVERY_PLAN
def test_every_selector_finds_pods_and_those_of_one_kind(plan: str):
    found = objects(plan)
    for service in kinds(found, "Service").values():
        (maker,) = selected(found, service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports(found, maker)
    for kind in ("StatefulSet", "Deployment", "PodDisruptionBudget"):
        for name, each in kinds(found, kind).items():
            makers = selected(found, each["spec"]["selector"]["matchLabels"])
            assert {maker.partition("/")[2] for maker in makers} == {name}
    for each in kinds(found, "HorizontalPodAutoscaler").values():
        target = each["spec"]["scaleTargetRef"]
        assert target["name"] in kinds(found, target["kind"])
    for name, each in kinds(found, "StatefulSet").items():
        assert kinds(found, "Service")[each["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"
        (spread,) = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert selected(found, spread["labelSelector"]["matchLabels"]) == {f"StatefulSet/{name}"}


@EVERY_PLAN
def test_no_config_map_is_larger_than_the_api_server_takes(plan: str):
    for each in kinds(objects(plan), "ConfigMap").values():
        data = each.get("data", {})
        assert sum(len(key) + len(text.encode()) for key, text in data.items()) < LARGEST_CONFIG_MAP
        assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in data)


@EVERY_PLAN
def test_nothing_that_is_secret_is_rendered(plan: str):
    secrets = kinds(objects(plan), "Secret")
    assert set(secrets) - {REGISTRY_SECRET} == {KEYS_SECRET, CA_SECRET}
    assert not any({"data", "stringData"} & each.keys() for each in secrets.values())


def test_the_host_is_left_to_the_deployment_where_it_is_an_address():
    assert kinds(objects("balanced"), "ConfigMap")[HOST_CONFIG].get("data") is None
    assert kinds(objects("full"), "ConfigMap")[HOST_CONFIG]["data"] == {"host": "llm.example.org"}
    host = "gateway.llm-endpoint-tests.svc.cluster.local"
    assert kinds(objects("plain"), "ConfigMap")[HOST_CONFIG]["data"] == {"host": host}


@EVERY_PLAN
def test_pods_mount_the_modules_that_they_run(plan: str):
    found = objects(plan)
    code = kinds(found, "ConfigMap")["code"]["data"]
    mounted: set[str] = set()
    for _, template in pod_templates(found):
        items = code_items(template)
        assert all(key == path.replace("/", ".") for path, key in items.items())
        assert f"{own_module(template).replace('.', '/')}.py" in items
        mounted |= set(items.values())
    assert mounted == code.keys()


@pytest.mark.parametrize(
    ("pod", "packages"),
    [("StatefulSet/chat", False), ("CronJob/park", False), ("Deployment/gateway", True)],
)
def test_a_pods_program_starts_from_what_its_pod_has(pod: str, packages: bool, tmp_path: Path):
    found = objects("full")
    code = kinds(found, "ConfigMap")["code"]["data"]
    template = dict(pod_templates(found))[pod]
    for path, key in code_items(template).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(code[key])
    # Without packages where the pod has none yet: the standard library is all there is.
    options = [] if packages else ["-S"]
    done = subprocess.run(
        [sys.executable, *options, "-B", "-c", f"import {own_module(template)}"],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_same_plan_makes_the_same_bytes():
    one, other = render(FULL), render(replace(FULL))
    assert one.digest() == other.digest() == rendered("full").digest()
    assert re.fullmatch(r"[0-9a-f]{64}", one.digest())


@pytest.mark.parametrize(
    "change",
    [
        {"parked": True},
        {"keep_data": False},
        {"idle_minutes": 31},
        {"domain": "other.example.org"},
        {"drain_seconds": 16},
        {"base_name": "llm-endpoint-other"},
    ],
    ids=str,
)
def test_another_plan_makes_another_digest(change: dict[str, Any]):
    assert render(replace(FULL, **change)).digest() != rendered("full").digest()


def test_a_file_is_the_yaml_of_its_object_and_their_order_is_that_of_the_objects():
    found = rendered("full")
    files = dict(found.files())
    assert list(files) == sorted(files)
    assert next(iter(files)) == "kubernetes/00-namespace-llm-endpoint-tests.yaml"
    assert all(re.fullmatch(r"kubernetes/\d\d-[a-z]+-[a-z0-9-]+\.yaml", name) for name in files)
    read = [yaml.load(text, Loader=yaml.CSafeLoader) for text in files.values()]
    assert read == list(found.objects)


def test_texts_of_several_lines_stand_in_files_as_they_are():
    text = next(text for name, text in rendered("plain").files().items() if "map-gateway." in name)
    assert "  Caddyfile: |\n" in text
    assert "\n    https://{$LLM_ENDPOINT_HOST} {$LLM_ENDPOINT_ALSO} {\n" in text


def test_a_parked_plan_differs_only_in_what_runs():
    serving, parked = objects("full"), objects("parked")
    different = {
        (one["kind"], one["metadata"]["name"])
        for one, other in zip(serving, parked, strict=True)
        if one != other
    }
    assert different == {("Deployment", "gateway"), ("CronJob", "park")}
    assert kinds(serving, "Deployment")["gateway"]["spec"]["replicas"] == 1
    assert kinds(parked, "Deployment")["gateway"]["spec"]["replicas"] == 0
    assert kinds(parked, "CronJob")["park"]["spec"]["suspend"] is True


def test_a_change_of_the_gateway_leaves_the_servers_pods_alone():
    def templates(plan: Any) -> dict[str, Object]:
        return dict(pod_templates(objects(plan)))

    limits = replace(PLAIN.limits, active_requests=17)
    before, after = templates(PLAIN), templates(replace(PLAIN, limits=limits))
    assert before["StatefulSet/chat"] == after["StatefulSet/chat"]
    assert before["Deployment/gateway"] != after["Deployment/gateway"]
