"""Plans of pods, and what was rendered of them, as the tests look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, cast

from components.engines import ovms_classic
from components.engines.llama_cpp import LlamaCppOptions, launch
from components.launch import Accelerator, Capability, Form, Launch, Probe, Slot
from components.models.registry import RegistryModel, parse_registry_url
from components.rendering.kubernetes.plan import (
    Expose,
    ModelForm,
    PodPlan,
    PodResources,
    PodServer,
    Registry,
    RegistryAccess,
    SupportImages,
    Taint,
)
from components.rendering.kubernetes.render import render
from components.rendering.kubernetes.rendered import RenderedObjects
from components.rendering.machine.plan import GatewayLimits

Object = dict[str, Any]

_DIGEST = f"sha256:{'0' * 64}"
GIB = 2**30


def ovms_launch(name: str = "chat", model_id: str = "qwen3-8b-int4-ov") -> Launch:
    return Launch(
        engine="ovms",
        program="ovms",
        arguments=(
            *("--model_path", Slot.MODEL, "--model_name", model_id, "--rest_port", Slot.PORT),
            *("--rest_bind_address", Slot.HOST, "--task", "text_generation"),
        ),
        model_id=model_id,
        probe=Probe(f"/v2/models/{model_id}/ready", 404, "/v2/health/live", "/v1/config"),
        forms=frozenset({Form.POD}),
        accelerators=frozenset({Accelerator.CPU}),
        capabilities=frozenset({Capability.TOOL_CALLS}),
        slots=8,
        api_path="/v3",
    )


CHAT = PodServer(
    name="chat",
    launch=ovms_launch(),
    model="OpenVINO/Qwen3-8B-int4-ov@5c47abf4b8e12ebe8e99745bb0c1ec17e0c0abcc",
    form=ModelForm.OPENVINO,
    image=f"registry.example.org/ovms:2026.3.1@{_DIGEST}",
    program=("/ovms/bin/ovms",),
    resources=PodResources(20, 70 * GIB),
    disk_gb=30,
)
EMBEDDINGS = replace(
    CHAT,
    name="embeddings",
    launch=ovms_launch("embeddings", "bge-base-en-v1.5-ov"),
    model="OpenVINO/bge-base-en-v1.5-int8-ov",
    resources=PodResources(1, 2 * GIB),
    disk_gb=10,
)


def llama_cpp_server(model: str, *flags: str, checks_keys: bool = False) -> PodServer:
    options = LlamaCppOptions("chat", 4096, 4, checks_keys=checks_keys, extra_flags=flags)
    return replace(
        CHAT,
        launch=launch(options),
        model=model,
        form=ModelForm.GGUF,
        image=f"registry.example.org/llama.cpp:server@{_DIGEST}",
        program=("/app/llama-server",),
    )


PLAIN = PodPlan(
    base_name="llm-endpoint-tests",
    namespace="llm-endpoint-tests",
    servers=(CHAT,),
    expose=Expose.INTERNAL,
    limits=GatewayLimits(active_requests=16),
    images=SupportImages(
        f"registry.example.org/python:3.13@{_DIGEST}", f"registry.example.org/caddy:2@{_DIGEST}"
    ),
    taint=Taint("cloud.google.com/gke-spot", "true"),
    storage_class="standard-rwo",
)
BALANCED = replace(
    PLAIN, expose=Expose.LOAD_BALANCER, allowed_cidrs=("192.0.2.0/24", "198.51.100.7/32")
)
FULL = replace(
    PLAIN,
    servers=(replace(CHAT, replicas=2, most_replicas=4), EMBEDDINGS),
    expose=Expose.GATEWAY,
    domain="llm.example.org",
    allowed_cidrs=("192.0.2.0/24",),
    idle_minutes=30,
    keep_data=True,
)
LLAMA_CPP = replace(
    PLAIN, servers=(llama_cpp_server("owner/repo:quants/model-Q4_K_M.gguf"),), spot=False
)
CLASSIC = replace(
    CHAT,
    name="models",
    launch=ovms_classic.launch({"resnet50": [1, 2], "bert": [3]}, 2),
    model="bert@3 resnet50@1 resnet50@2",
    form=ModelForm.CLASSIC,
    resources=PodResources(2, 4 * GIB),
    disk_gb=20,
    models=(RegistryModel("bert", 3), RegistryModel("resnet50", 1), RegistryModel("resnet50", 2)),
)
GOOGLES = "gs://my-models/prod"
S3 = "s3://my-models?endpoint=https://storage.example.org"


def with_registry(url: str, access: RegistryAccess, *servers: PodServer) -> PodPlan:
    registry = Registry(parse_registry_url(url), access)
    return replace(PLAIN, servers=servers, registry=registry)


REGISTRY = with_registry(
    GOOGLES,
    RegistryAccess.WORKLOAD_IDENTITY,
    replace(CHAT, model="registry:qwen3-8b@2"),
    EMBEDDINGS,
    CLASSIC,
)
PLANS = {
    "plain": PLAIN,
    "balanced": BALANCED,
    "full": FULL,
    "llama_cpp": LLAMA_CPP,
    "parked": replace(FULL, parked=True),
    "registry": REGISTRY,
    "registry by key": with_registry(GOOGLES, RegistryAccess.KEY, CHAT, CLASSIC),
    "registry by secret": with_registry(S3, RegistryAccess.SECRET, CHAT, CLASSIC),
}


@cache
def rendered(name: str) -> RenderedObjects:
    return render(PLANS[name])


def objects(name: str | PodPlan) -> list[Object]:
    made = render(name) if isinstance(name, PodPlan) else rendered(name)
    return cast("list[Object]", list(made.objects))


_ONCE: dict[str, list[Object]] = {}


def objects_once(plan: PodPlan) -> list[Object]:
    """The objects of `plan`, rendered once: every module of the pods is read for them."""
    key = repr(plan)
    if key not in _ONCE:
        _ONCE[key] = objects(plan)
    return _ONCE[key]


def kinds(found: list[Object], kind: str) -> dict[str, Object]:
    """The objects of a kind, by their names."""
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pod_templates(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that the objects lead to: the name of what makes it, and its template."""
    for each in found:
        name = f"{each['kind']}/{each['metadata']['name']}"
        match each["kind"]:
            case "StatefulSet" | "Deployment":
                yield name, each["spec"]["template"]
            case "CronJob":
                yield name, each["spec"]["jobTemplate"]["spec"]["template"]
            case _:
                pass


def containers(template: Object) -> list[Object]:
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def container(template: Object, name: str) -> Object:
    return next(each for each in containers(template) if each["name"] == name)


def environment(of: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in of["env"] if "value" in each}
