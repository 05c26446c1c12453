"""The gateway in its pod, and each way in."""

import json
from dataclasses import replace

import pytest
from rendering_kubernetes import (
    BALANCED,
    FULL,
    Object,
    container,
    containers,
    environment,
    kinds,
    objects,
    pod_templates,
)

from components.rendering.kubernetes.exposure import ExposureError
from components.rendering.machine.places import FILES
from machine.gateway.pod import parse


def pod(plan: str) -> Object:
    return kinds(objects(plan), "Deployment")["gateway"]["spec"]["template"]


def service(plan: str) -> Object:
    return kinds(objects(plan), "Service")["gateway"]


def volume(template: Object, name: str) -> Object:
    return next(each for each in template["spec"]["volumes"] if each["name"] == name)


def files(template: Object, of: str) -> set[str]:
    """The absolute paths of the configuration that a container sees."""
    each = container(template, of)
    mount = next(one for one in each["volumeMounts"] if one["mountPath"] == "/etc/llm-endpoint")
    sources = volume(template, mount["name"])["projected"]["sources"]
    return {
        f"{mount['mountPath']}/{item['path']}"
        for source in sources
        for one in source.values()
        for item in one["items"]
    }


def test_the_gateway_knows_its_servers_by_their_services():
    text = kinds(objects("full"), "ConfigMap")["gateway"]["data"]["gateway.json"]
    assert json.loads(text) == {
        "port": 8080,
        "host": "0.0.0.0",
        "front_port": 8443,
        "keys": "/etc/llm-endpoint/keys/keys.json",
        "activity": "/run/llm-endpoint/activity.json",
        "limits": {"active_requests": 16, "body_bytes": 20971520, "request_seconds": 3600},
        "upstreams": [
            {
                "name": name,
                "origin": f"http://{name}.llm-endpoint-tests.svc.cluster.local:8000",
                "api_path": "/v3",
                "probe_path": f"/v2/models/{model}/ready",
                "loading_status": 404,
                "state_path": "/v1/config",
            }
            for name, model in (
                ("chat", "qwen3-8b-int4-ov"),
                ("embeddings", "bge-base-en-v1.5-ov"),
            )
        ],
    }


def test_the_gateway_takes_its_settings_as_they_are_rendered():
    read = parse(json.loads(kinds(objects("full"), "ConfigMap")["gateway"]["data"]["gateway.json"]))
    assert [each.name for each in read.gateway.upstreams] == ["chat", "embeddings"]
    assert read.gateway.limits.active_requests == FULL.limits.active_requests


def test_each_of_the_gateways_programs_sees_its_own_secret_alone():
    template = pod("plain")
    folder = "/etc/llm-endpoint"
    assert files(template, "gateway") == {f"{folder}/gateway.json", f"{folder}/keys/keys.json"}
    ca = {f"{folder}/ca/certificate.pem", f"{folder}/ca/key.pem"}
    assert files(template, "caddy") == {f"{folder}/Caddyfile", *ca}
    assert volume(template, "caddy")["projected"]["defaultMode"] == 0o440
    assert volume(template, "caddy-run")["emptyDir"]["medium"] == "Memory"


def test_caddy_has_the_machines_own_file_and_the_variables_that_it_names():
    text = kinds(objects("plain"), "ConfigMap")["gateway"]["data"]["Caddyfile"]
    assert text == (FILES / "Caddyfile.own-ca").read_text()
    caddy = container(pod("plain"), "caddy")
    assert environment(caddy) == {
        "HOME": "/tmp",
        "CREDENTIALS_DIRECTORY": "/etc/llm-endpoint/ca",
        "RUNTIME_DIRECTORY": "/run/caddy",
        "XDG_CONFIG_HOME": "/run/caddy/config",
        "XDG_DATA_HOME": "/run/caddy/data",
        "LLM_ENDPOINT_ALSO": "https://127.0.0.1 https://localhost",
        "LLM_ENDPOINT_BODY_BYTES": "20971520",
        "LLM_ENDPOINT_CADDY_ADMIN": "off",
        "LLM_ENDPOINT_GATEWAY_PORT": "8080",
        "LLM_ENDPOINT_HTTPS_PORT": "8443",
    }
    host = next(each for each in caddy["env"] if each["name"] == "LLM_ENDPOINT_HOST")
    assert host["valueFrom"] == {"configMapKeyRef": {"name": "gateway-host", "key": "host"}}
    assert caddy["securityContext"]["capabilities"]["add"] == ["NET_BIND_SERVICE"]


def test_a_connection_of_googles_proxies_is_never_closed_before_they_close_it():
    behind = environment(container(pod("full"), "caddy"))
    assert behind["LLM_ENDPOINT_IDLE"] == "11m"
    text = (FILES / "Caddyfile.own-ca").read_text()
    assert "\tidle {$LLM_ENDPOINT_IDLE:2m}\n" in text
    assert "LLM_ENDPOINT_IDLE" not in environment(container(pod("balanced"), "caddy"))


def test_a_pod_that_leaves_answers_until_googles_proxies_know():
    spec = pod("full")["spec"]
    for each in spec["containers"]:
        assert each["lifecycle"]["preStop"]["sleep"]["seconds"] == 60
    # And then the key checker's own 15 seconds for what it answers.
    assert spec["terminationGracePeriodSeconds"] == 60 + 15 + 5


@pytest.mark.parametrize("plan", ["plain", "balanced", "full", "parked"])
def test_no_variable_is_empty_which_kubernetes_would_drop_and_pulumi_send_again(plan: str):
    for _, template in pod_templates(objects(plan)):
        for each in containers(template):
            assert all(one.get("value", "from elsewhere") for one in each["env"])


def test_the_key_checker_finds_its_packages_where_they_were_installed():
    template = pod("plain")
    installs = container(template, "packages")["command"]
    assert installs[:3] == ["python3", "-m", "machine.pod.packages"]
    target = installs[installs.index("--into") + 1]
    assert target in environment(container(template, "gateway"))["PYTHONPATH"].split(":")
    lock = installs[installs.index("--lock") + 1]
    mounts = {one["mountPath"] for one in container(template, "packages")["volumeMounts"]}
    assert lock.rpartition("/")[0] in mounts
    assert target in mounts


def test_the_key_checker_may_hold_all_bodies_that_it_lets_in():
    memory = container(pod("plain"), "gateway")["resources"]["limits"]["memory"]
    assert memory == f"{256 + 16 * 20}Mi"


def test_the_gateway_runs_where_no_model_does():
    (term,) = pod("plain")["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    (rule,) = term["matchExpressions"]
    assert rule == {"key": "llm-endpoint/pool", "operator": "DoesNotExist"}
    keys = {each["key"] for each in pod("plain")["spec"]["tolerations"]}
    assert "cloud.google.com/gke-spot" not in keys


def test_a_new_gateway_is_ready_before_the_old_one_goes():
    strategy = kinds(objects("plain"), "Deployment")["gateway"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_an_internal_gateway_has_an_address_of_the_cluster_alone():
    found = service("plain")
    assert found["spec"]["type"] == "ClusterIP"
    assert found["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    assert [(port["port"], port["targetPort"]) for port in found["spec"]["ports"]] == [
        (443, "https")
    ]
    assert kinds(objects("plain"), "Gateway") == {}


def test_a_load_balancer_lets_in_the_allowed_networks_by_the_reserved_address():
    found = service("balanced")
    assert found["spec"]["type"] == "LoadBalancer"
    assert found["spec"]["loadBalancerSourceRanges"] == ["192.0.2.0/24", "198.51.100.7/32"]
    assert found["spec"]["externalTrafficPolicy"] == "Local"
    assert found["metadata"]["annotations"] == {
        "cloud.google.com/l4-rbs": "enabled",
        "networking.gke.io/load-balancer-ip-addresses": "llm-endpoint-tests",
    }


def test_a_google_gateway_has_the_address_the_certificate_and_the_policy_of_the_stack():
    found = objects("full")
    gateway = kinds(found, "Gateway")["gateway"]
    assert gateway["metadata"]["annotations"] == {"networking.gke.io/certmap": "llm-endpoint-tests"}
    assert gateway["spec"]["gatewayClassName"] == "gke-l7-global-external-managed"
    assert gateway["spec"]["addresses"] == [{"type": "NamedAddress", "value": "llm-endpoint-tests"}]
    (listener,) = gateway["spec"]["listeners"]
    assert (listener["port"], listener["hostname"]) == (443, "llm.example.org")
    route = kinds(found, "HTTPRoute")["gateway"]["spec"]
    assert route["parentRefs"] == [{"name": "gateway", "sectionName": listener["name"]}]
    assert route["hostnames"] == ["llm.example.org"]
    (port,) = service("full")["spec"]["ports"]
    assert port["appProtocol"] == "HTTPS"
    assert route["rules"][0]["backendRefs"] == [{"name": "gateway", "port": port["port"]}]
    policy = kinds(found, "GCPBackendPolicy")["gateway"]["spec"]["default"]
    assert policy["securityPolicy"] == "llm-endpoint-tests"


def test_a_google_gateway_lets_an_answer_take_as_long_as_our_own_does():
    policy = kinds(objects("full"), "GCPBackendPolicy")["gateway"]["spec"]["default"]
    assert policy["timeoutSec"] == FULL.limits.request_seconds == 3600
    assert policy["connectionDraining"]["drainingTimeoutSec"] == 25


def test_a_google_gateways_health_check_needs_no_key_and_no_host():
    policy = kinds(objects("full"), "HealthCheckPolicy")["gateway"]["spec"]
    assert policy["default"]["config"] == {"type": "TCP", "tcpHealthCheck": {"port": 8443}}
    assert policy["targetRef"] == {"group": "", "kind": "Service", "name": "gateway"}


@pytest.mark.parametrize("plan", [BALANCED, FULL])
def test_a_way_in_from_outside_without_allowed_networks_is_refused(plan: object):
    with pytest.raises(ExposureError, match="without allowed_cidrs would be open to everyone"):
        objects(replace(plan, allowed_cidrs=()))  # type: ignore[type-var]


def test_a_google_gateway_without_a_domain_is_refused():
    with pytest.raises(ExposureError, match="without a domain"):
        objects(replace(FULL, domain=None))
