"""Which model servers run in a cluster, and in what pods: settings -> `PodServer`s."""

from __future__ import annotations

from collections.abc import Iterable

from components.catalogue.gcp import MachineType
from components.container_images import PodImage, pod_image
from components.engines import llama_cpp, ovms, ovms_classic, ovms_graph
from components.launch import Launch
from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.models.reference import HubFile
from components.models.registry import RegistryModel
from components.models.size import guess, guess_openvino
from components.rendering.kubernetes.plan import (
    ModelForm,
    PodResources,
    PodServer,
    Registry,
    RegistryAccess,
)
from components.serving.llama_servers import (
    CHAT,
    EMBEDDINGS,
    chat_options,
    embeddings_options,
    id_of,
)
from components.settings.gke_engine import ovms_version
from components.settings.gke_ovms import GkeOvmsSettings
from components.sizing.pod_tuning import GIB, TunedPod, tuned_pods

_FORMS = {ovms.NAME: ModelForm.OPENVINO, llama_cpp.NAME: ModelForm.GGUF}
_LEAST_EMBEDDINGS_DISK_GB = 20
CLASSIC = "models"
"""The name of the server of classic models."""


def pod_model_id(engine: str, model: str) -> str:
    """Return the id under which a server lists the model of that reference.

    OpenVINO Model Server takes no slash in it, so that it is the repository's name alone.
    """
    reference = parse_pod_model(model)
    if engine == ovms.NAME and isinstance(reference, HubFile):
        return reference.repo
    return id_of(model)


def embedding_model(settings: GkeOvmsSettings) -> str | None:
    """Return the id that answers `/v1/embeddings`; None where none does."""
    model = settings.embeddings_model
    return None if model is None else pod_model_id(settings.engine, model)


def pod_servers(settings: GkeOvmsSettings, machine: MachineType | None) -> tuple[PodServer, ...]:
    """Return the servers behind the gateway: the one that chats first, of classic models last.

    `machine` is the nodes' machine type, None where the catalogue does not know it. An embeddings
    model of its own gets a second server, of the same engine; where it is the chat model, which
    llama.cpp alone can do, one does both. Classic models are OpenVINO Model Server's. Raises
    `ContainerImageError` where the engine has no image, and `PodSizeError` where nothing tells how
    large the pods are.
    """
    pods = tuned_pods(machine, settings.wanted_pods())
    image = pod_image(settings.engine, settings.container_image)
    launch = _chat_launch(settings, pods.chat)
    chat = PodServer(
        name=CHAT,
        launch=launch,
        model=settings.model,
        form=_FORMS[settings.engine],
        image=image.reference,
        program=image.program,
        resources=_resources(pods.chat),
        disk_gb=settings.disk_gb(),
        replicas=settings.replicas,
        most_replicas=settings.max_replicas,
        graph=ovms_graph.graph(launch) if settings.starts_by_graph else None,
    )
    servers = [chat]
    if pods.embeddings is not None and settings.embeddings_model is not None:
        model = settings.embeddings_model
        servers.append(_embeddings_server(settings, model, pods.embeddings, image))
    if settings.classic_models:
        servers.append(_classic_server(settings))
    return tuple(servers)


def pod_registry(settings: GkeOvmsSettings) -> Registry | None:
    """Return the registry that servers have models from, and how; None where they have none."""
    url = settings.registry_url()
    if url is None or not settings.named_from_registry():
        return None
    if url.scheme == "s3":
        return Registry(url, RegistryAccess.SECRET)
    return Registry(url, RegistryAccess(settings.registry_access or "workload_identity"))


def _chat_launch(settings: GkeOvmsSettings, pod: TunedPod) -> Launch:
    if pod.llama is not None:
        return llama_cpp.launch(chat_options(settings, pod.llama, settings.engine_flags))
    version = ovms_version(settings)
    model_id = pod_model_id(settings.engine, settings.model)
    family = ovms.parsers_for(model_id, version)
    options = ovms.OvmsOptions(
        model_id=model_id,
        slots=pod.slots,
        cache_gb=pod.cache_gb or 1,
        kv_precision=pod.kv_type,
        tool_parser=_parser(settings.tool_call_parser, family.tool, version),
        reasoning_parser=_parser(settings.reasoning_parser, family.reasoning, version),
        extra_flags=settings.engine_flags,
    )
    return ovms.launch(options)


def _parser(chosen: str | None, family: str | None, version: ovms.Version | None) -> str | None:
    """Return the parser to name: the chosen one, or the family's; None where none is named."""
    if chosen is None:
        return family
    turns_off = version is None or version >= ovms.TURNS_PARSERS_OFF
    return None if chosen == ovms.NO_PARSER and not turns_off else chosen


def _embeddings_server(
    settings: GkeOvmsSettings, model: str, pod: TunedPod, image: PodImage
) -> PodServer:
    if pod.llama is None:
        model_id = pod_model_id(settings.engine, model)
        options = ovms.OvmsOptions(
            model_id=model_id,
            slots=pod.slots,
            task=ovms.Task.EMBEDDINGS,
            pooling=ovms.pooling_for(model_id),
        )
        launch = ovms.launch(options)
    else:
        launch = llama_cpp.launch(embeddings_options(model, pod.llama, pod.slots))
    return PodServer(
        name=EMBEDDINGS,
        launch=launch,
        model=model,
        form=_FORMS[settings.engine],
        image=image.reference,
        program=image.program,
        resources=_resources(pod),
        disk_gb=_embeddings_disk_gb(settings.engine, model),
    )


def _classic_server(settings: GkeOvmsSettings) -> PodServer:
    models = settings.classic()
    own = settings.container_image if settings.engine == ovms.NAME else None
    image = pod_image(ovms.NAME, own)
    return PodServer(
        name=CLASSIC,
        launch=ovms_classic.launch(_versions(models), settings.classic_cpus),
        model=" ".join(str(model) for model in models),
        form=ModelForm.CLASSIC,
        image=image.reference,
        program=image.program,
        resources=PodResources(settings.classic_cpus, settings.classic_memory_gb * GIB),
        disk_gb=settings.classic_disk_gb,
        models=models,
    )


def _versions(models: Iterable[RegistryModel]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for model in models:
        found.setdefault(model.name, []).append(model.version)
    return found


def _resources(pod: TunedPod) -> PodResources:
    return PodResources(pod.cpus, pod.memory_bytes)


def _embeddings_disk_gb(engine: str, model: str) -> int:
    """Return the size of a disk for that model alone, twice over, in tens of GB."""
    reference = parse_pod_model(model)
    if isinstance(reference, RegistryModelReference):
        return _LEAST_EMBEDDINGS_DISK_GB
    size = guess_openvino(reference) if engine == ovms.NAME else guess(reference)
    tens = 0 if size is None else -int(-(2 * size.size_bytes / 2**30 + 10) // 10)
    return max(_LEAST_EMBEDDINGS_DISK_GB, tens * 10)
