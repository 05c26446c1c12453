"""Every pod of every plan satisfies Pod Security's `restricted`, and a quota that counts all."""

import re
from typing import Any

import pytest
from rendering_kubernetes import (
    BALANCED,
    FULL,
    LLAMA_CPP,
    PLAIN,
    PLANS,
    Object,
    container,
    containers,
    environment,
    kinds,
    llama_cpp_server,
    objects,
    pod_templates,
)

from components.rendering.kubernetes.pods import literal, size

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
PODS = [
    pytest.param(template, id=f"{plan}-{name}")
    for plan in PLANS
    for name, template in pod_templates(objects(plan))
]


def violations(template: Object) -> list[str]:
    """What of a pod the profile `restricted` of the Pod Security Standards refuses."""
    spec = template["spec"]
    pod = spec.get("securityContext", {})
    found = [
        field for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(field)
    ]
    for volume in spec.get("volumes", ()):
        found += [f"volume {volume['name']}"] * (not volume.keys() - {"name"} <= ALLOWED_VOLUMES)
    for each in containers(template):
        own: dict[str, Any] = each.get("securityContext", {})
        both = {**pod, **own}
        capabilities = own.get("capabilities", {})
        wrong = {
            "runs as root": both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0,
            "may gain privileges": own.get("allowPrivilegeEscalation") is not False,
            "is privileged": own.get("privileged", False),
            "keeps capabilities": "ALL" not in capabilities.get("drop", ()),
            "adds capabilities": not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "has no seccomp profile": both.get("seccompProfile", {}).get("type")
            not in {"RuntimeDefault", "Localhost"},
            "has a port of its node": any("hostPort" in port for port in each.get("ports", ())),
        }
        found += [f"{each['name']} {what}" for what, is_so in wrong.items() if is_so]
    return found


def millicpus(quantity: str) -> int:
    return int(quantity[:-1]) if quantity.endswith("m") else int(quantity) * 1000


def mib(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024, "Ti": 1024**2}[quantity[-2:]]


@pytest.mark.parametrize(
    ("given", "written"),
    [(320, "320Mi"), (1024, "1Gi"), (1536, "1536Mi"), (75776, "74Gi"), (2**20, "1Ti")],
)
def test_a_size_is_written_as_the_api_server_writes_it(given: int, written: str):
    assert size(given) == written


def requests(of: Object) -> tuple[int, int]:
    asked = of["resources"]["requests"]
    return millicpus(asked["cpu"]), mib(asked["memory"])


def limits(of: Object) -> tuple[int, int]:
    most = of["resources"]["limits"]
    return millicpus(most["cpu"]), mib(most["memory"])


@pytest.mark.parametrize("template", PODS)
def test_every_pod_satisfies_the_profile_restricted(template: Object):
    assert violations(template) == []


def test_the_checker_of_the_profile_finds_what_is_wrong():
    bad: Object = {
        "spec": {
            "hostNetwork": True,
            "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
            "containers": [{"name": "one", "securityContext": {"privileged": True}}],
        }
    }
    assert len(violations(bad)) == 7


@pytest.mark.parametrize("template", PODS)
def test_every_pod_runs_as_the_numbered_user_of_its_volumes(template: Object):
    context = template["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (5000, 5000, 5000)
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"


@pytest.mark.parametrize("template", PODS)
def test_every_container_has_a_root_that_it_cannot_write_to_and_a_tmp_that_it_can(template: Object):
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    for each in containers(template):
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {mount["mountPath"]: mount for mount in each["volumeMounts"]}
        assert not mounts["/tmp"].get("readOnly")
        assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
        assert environment(each)["HOME"] == "/tmp"


@pytest.mark.parametrize("template", PODS)
def test_every_container_says_what_it_asks_and_what_it_may_take(template: Object):
    for each in containers(template):
        assert 0 < requests(each)[0] <= limits(each)[0]
        assert 0 < requests(each)[1] <= limits(each)[1]


@pytest.mark.parametrize("template", PODS)
def test_what_runs_before_a_pod_asks_for_no_more_than_the_pod(template: Object):
    spec = template["spec"]
    serving = [requests(each) for each in spec["containers"]]
    whole = (sum(each[0] for each in serving), sum(each[1] for each in serving))
    for each in spec.get("initContainers", ()):
        assert requests(each) <= whole
        assert requests(each)[1] <= whole[1]


@pytest.mark.parametrize("template", PODS)
def test_no_pod_gets_variables_of_services_which_an_engine_might_take_for_its_own(template: Object):
    assert template["spec"]["enableServiceLinks"] is False
    assert not any("API_KEY" in each["name"] for one in containers(template) for each in one["env"])


@pytest.mark.parametrize("template", PODS)
def test_only_the_parking_job_has_a_token(template: Object):
    parks = template["metadata"]["labels"]["app.kubernetes.io/component"] == "park"
    assert template["spec"]["automountServiceAccountToken"] is parks


@pytest.mark.parametrize("template", PODS)
def test_every_mount_is_of_a_volume_and_no_two_are_one_in_the_other_but_in_a_writable_one(
    template: Object,
):
    volumes = {each["name"] for each in template["spec"]["volumes"]} | {"models"}
    for each in containers(template):
        mounts = {mount["mountPath"]: mount for mount in each["volumeMounts"]}
        assert len(mounts) == len(each["volumeMounts"])
        assert {mount["name"] for mount in mounts.values()} <= volumes
        for outer in mounts:
            # A runtime could not make the place of the inner one in a volume of a ConfigMap.
            assert not any(inner.startswith(f"{outer}/") for inner in mounts)


@pytest.mark.parametrize("template", PODS)
def test_every_image_has_a_digest(template: Object):
    for each in containers(template):
        assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", each["image"])


@pytest.mark.parametrize("plan", [PLAIN, BALANCED, FULL, LLAMA_CPP])
def test_every_long_lived_pod_has_time_to_leave_and_to_end(plan: Any):
    for name, template in pod_templates(objects(plan)):
        spec = template["spec"]
        if spec.get("restartPolicy") == "Never":
            continue
        if name.startswith("StatefulSet/"):
            assert spec["terminationGracePeriodSeconds"] == 25
        for each in spec["containers"]:
            seconds = each["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert 0 < seconds <= spec["terminationGracePeriodSeconds"] - 10


@pytest.mark.parametrize("template", PODS)
def test_every_probe_asks_a_port_that_its_container_has(template: Object):
    for each in containers(template):
        ports = {port["name"] for port in each.get("ports", ())}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in each:
                asked = each[probe].get("httpGet", each[probe].get("tcpSocket"))
                assert asked["port"] in ports
                assert each[probe]["timeoutSeconds"] <= each[probe]["periodSeconds"]


def test_a_dollar_of_an_argument_reaches_the_engine_as_it_is():
    server = llama_cpp_server("owner/repo:model.gguf", "--chat-template", "{{ x }} $(HOME) $$")
    found = kinds(objects(PLAIN.__class__(**{**vars(PLAIN), "servers": (server,)})), "StatefulSet")
    command = container(found["chat"]["spec"]["template"], "server")["command"]
    assert command[-1] == "{{ x }} $$(HOME) $$$$"
    assert literal("no reference") == "no reference"
