"""The key `deploy`: what makes the pods of the servers, and what that can't do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from components.engines import ovms
from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.settings.base import Problem
from components.settings.gke_engine import ovms_version
from components.settings.gke_registry import GkeRegistrySettings

if TYPE_CHECKING:
    from components.settings.gke_ovms import GkeOvmsSettings

_OURS, _OPERATOR, _KSERVE = "deployment", "operator", "kserve"
_BACK = "scripts/pulumi config rm deploy"
_SET = "scripts/pulumi config set"
_UNSET = "scripts/pulumi config rm"
_OWN_IMAGE = "openvino/model_server:2026.2.1"


class GkeDeploySettings(GkeRegistrySettings):
    """The keys of what makes the servers' pods."""

    deploy: Literal["deployment", "operator", "kserve"] = Field(
        default="deployment",
        description="What makes the pods that serve models: `deployment`: a StatefulSet of ours; "
        "`operator`: OpenVINO's operator, by a `ModelServer`; `kserve`: KServe, by an "
        "`InferenceService`. The two have to be in the cluster, and take less than ours does.",
    )
    operator_subscription: bool = Field(
        default=False,
        description="Have OpenVINO's operator be installed too, by a Subscription: the Operator "
        "Lifecycle Manager has to be in the cluster.",
    )

    @property
    def parks_itself(self) -> bool:
        """Whether the servers go when nobody asks for anything: other controllers' stay."""
        return self.deploy == _OURS

    @property
    def starts_by_graph(self) -> bool:
        """Whether the model that chats is served by a graph: no flags are passed on."""
        return self.deploy == _OPERATOR

    @property
    def keeps_no_models(self) -> bool:
        """Whether models lie on no disk of their own, and are fetched at each start."""
        return self.deploy == _KSERVE

    @property
    def shares_the_pool(self) -> bool:
        """Whether the pool has no taint, since the pods that serve models tolerate none."""
        return self.deploy == _OPERATOR


def _engine_is_ovms(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.deploy == _OURS or settings.engine == ovms.NAME:
        return
    yield Problem(
        "deploy",
        f"that has OpenVINO Model Server serve, and engine is {settings.engine!r}: it takes "
        "deployment, or engine ovms",
        f"{_BACK}, or {_SET} engine {ovms.NAME}",
    )


def _operator_takes_the_image(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.deploy != _OPERATOR or settings.engine != ovms.NAME:
        return
    version = ovms_version(settings)
    if version is None or version <= ovms.CLEANS_SEQUENCES:
        return
    pinned = "the pinned one" if settings.container_image is None else "it"
    yield Problem(
        "container_image",
        f"deploy is 'operator', which starts OpenVINO Model Server with a flag that versions after "
        f"{ovms.CLEANS_SEQUENCES} refuse, and {pinned} is {version}: it takes an image of "
        f"{ovms.SERVES_A_FOLDER} or {ovms.CLEANS_SEQUENCES}, of which no digest is pinned here",
        f"{_SET} container_image {_OWN_IMAGE} && scripts/up STACK, which looks up its "
        f"digest, or {_BACK}",
    )


def _operator_takes_the_model(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.deploy != _OPERATOR:
        return
    if settings.embeddings_model is not None:
        yield Problem(
            "embeddings_model",
            "deploy is 'operator', by which a model that chats and classic models are served: it "
            "has to be unset",
            f"{_UNSET} embeddings_model, or {_BACK}",
        )
    if settings.engine_flags:
        yield Problem(
            "engine_flags",
            "deploy is 'operator', which passes no flags on: what a model is served with stands in "
            "its graph, as the other keys say it",
            f"{_UNSET} engine_flags, or {_BACK}",
        )


def _operator_has_one_pod(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.deploy != _OPERATOR:
        return
    said = (
        "deploy is 'operator', whose pods have one disk together, which one node alone has: it "
        "takes {}; kserve is the one that scales out"
    )
    if settings.replicas > 1:
        step = f"{_UNSET} replicas, or {_SET} deploy kserve, or {_BACK}"
        yield Problem("replicas", said.format("1"), step)
    if settings.max_replicas is not None:
        step = f"{_UNSET} max_replicas, or {_SET} deploy kserve, or {_BACK}"
        yield Problem("max_replicas", said.format("none"), step)


def _subscription_is_the_operators(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.operator_subscription and settings.deploy != _OPERATOR:
        yield Problem(
            "operator_subscription",
            f"it installs OpenVINO's operator, and deploy is {settings.deploy!r}",
            f"{_UNSET} operator_subscription, or {_SET} deploy operator",
        )


def _kserve_takes_the_models(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.deploy != _KSERVE:
        return
    if settings.classic_models:
        yield Problem(
            "classic_models",
            "deploy is 'kserve', where each server has one model: it has to be unset, or deploy is "
            "deployment or operator",
            f"{_UNSET} classic_models, or {_BACK}",
        )
    if settings.registry_access == "key" and _is_of_the_registry(settings):
        yield Problem(
            "registry_access",
            "deploy is 'kserve', which looks for a service account's key under a name of its own: "
            "it takes workload_identity",
            f"{_UNSET} registry_access, or {_BACK}",
        )


def _is_of_the_registry(settings: GkeOvmsSettings) -> bool:
    models = (settings.model, settings.embeddings_model or settings.model)
    return any(isinstance(parse_pod_model(one), RegistryModelReference) for one in models)


def deploy_warnings(settings: GkeOvmsSettings) -> Iterator[str]:
    """Yield what has to be there already, what has no effect, and what is given up, in words."""
    if settings.deploy == _OURS:
        return
    if settings.idle_minutes:
        yield (
            f"idle_minutes {settings.idle_minutes} has no effect with deploy {settings.deploy}: "
            "nothing parks the servers by itself, and the nodes bill until scripts/pulumi config "
            "set parked true and the next up; idle_minutes 0 says so"
        )
    if settings.deploy == _OPERATOR:
        yield from _of_the_operator(settings)
    else:
        yield from _of_kserve(settings)


def _of_the_operator(settings: GkeOvmsSettings) -> Iterator[str]:
    if not settings.operator_subscription:
        yield (
            f"deploy operator: OpenVINO's operator has to be in the cluster{_when(settings)}; "
            "operator_subscription true installs it where the Operator Lifecycle Manager is"
        )
    elif settings.owns_cluster:
        yield (
            "operator_subscription true: the Operator Lifecycle Manager has to be in the cluster"
            f"{_when(settings)}"
        )
    where = "" if settings.cluster is None else f" of cluster {settings.cluster}"
    yield (
        "deploy operator: its pods tolerate no taint, so that the pool of the models has none: "
        f"other pods{where} may be put on its nodes, take the room that a server needs, and keep "
        "a node that nothing is served on"
    )
    if ovms_version(settings) is None:
        yield (
            f"container_image {settings.container_image}: its tag tells no version, and OpenVINO's "
            f"operator starts none that is later than {ovms.CLEANS_SEQUENCES}"
        )


def _when(settings: GkeOvmsSettings) -> str:
    """Return in words when something can be in a cluster that is made."""
    if not settings.owns_cluster:
        return ""
    return (
        " (the first up makes the cluster and stops at what is missing there; the next goes on "
        "from there)"
    )


def _of_kserve(settings: GkeOvmsSettings) -> Iterator[str]:
    yield (
        "deploy kserve: KServe has to be in the cluster, with cert-manager, which it needs"
        f"{_when(settings)}"
    )
    yield (
        "deploy kserve: each pod fetches its model anew when it starts, to its node's boot disk "
        f"(node_disk_gb {settings.node_disk_gb}), and no checksum is compared"
    )
    given = {
        "cache_gb": settings.cache_gb is not None,
        "storage_class": settings.storage_class is not None,
        "keep_data": settings.keep_data,
    }
    named = [key for key, is_set in given.items() if is_set]
    if named:
        have = "has" if len(named) == 1 else "have"
        yield (
            f"{' and '.join(named)} {have} no effect on models with deploy kserve, which keeps "
            "them on no disk of their own"
        )


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GkeOvmsSettings], Iterator[Problem]]], ...] = (
    (("deploy", "engine"), _engine_is_ovms),
    (("deploy", "engine", "container_image"), _operator_takes_the_image),
    (("deploy", "engine", "embeddings_model", "engine_flags"), _operator_takes_the_model),
    (("deploy", "replicas", "max_replicas"), _operator_has_one_pod),
    (("deploy", "operator_subscription"), _subscription_is_the_operators),
    (
        ("deploy", "classic_models", "registry_access", "model", "embeddings_model"),
        _kserve_takes_the_models,
    ),
)
