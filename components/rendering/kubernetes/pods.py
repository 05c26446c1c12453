"""What all pods have in common: they satisfy Pod Security's `restricted`, and say what they take.

Fields: Kubernetes' API reference, v1.34.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from components.rendering.kubernetes.manifests import InNamespace, labels
from components.rendering.kubernetes.names import LIB, PACKAGES, TMP, USER
from components.rendering.kubernetes.plan import POOL_LABEL, Taint

MIB = 1024 * 1024
STOP_SECONDS = 10
"""How long a pod's programs have to end once they are told to; then they are killed."""
_UNREACHABLE_SECONDS = 30
_TMP_LIMIT = "2Gi"
# As numbers of JSON, which has no octal ones: 0440.
READ_ONLY_MODE = 0o440
"""The mode of files that hold a secret: readable by the pod's group, which its user is in."""


class Tolerant(Protocol):
    """A plan whose pods go to a pool of nodes."""

    @property
    def taint(self) -> Taint | None:
        """The taint of the pool's nodes; None where they have none."""
        ...


@dataclass(frozen=True)
class Mount:
    """Where a container has one of its pod's volumes."""

    volume: str
    path: str
    writable: bool = False


@dataclass(frozen=True)
class Source:
    """The ConfigMap, and its key, that a variable has its value from."""

    config_map: str
    key: str


@dataclass(frozen=True)
class SecretSource:
    """The Secret, and its key, that a variable has its value from."""

    secret: str
    key: str


Value = str | Source | SecretSource
"""What a variable has: a text, or where it is from."""


@dataclass(frozen=True)
class Resources:
    """What a container asks for, and may take, in thousandths of a processor and MiB."""

    millicpus: int
    mib: int
    most_millicpus: int
    most_mib: int

    @classmethod
    def exactly(cls, cpus: int, memory_bytes: int) -> Resources:
        """Return resources that nobody else may use meanwhile; the memory is rounded down."""
        mib = memory_bytes // MIB
        return cls(cpus * 1000, mib, cpus * 1000, mib)

    def manifest(self) -> dict[str, object]:
        """Return them as a container has them."""
        return {
            "requests": _quantities(self.millicpus, self.mib),
            "limits": _quantities(self.most_millicpus, self.most_mib),
        }


def _quantities(millicpus: int, mib: int) -> dict[str, str]:
    cpus, rest = divmod(millicpus, 1000)
    return {"cpu": f"{millicpus}m" if rest else str(cpus), "memory": size(mib)}


def size(mib: int) -> str:
    """Return so many MiB as the API server itself writes them: in the largest unit that is whole.

    It rewrites any other, which would then look like a change of the object at each deployment.
    """
    for unit, units_mib in (("Ti", 1024 * 1024), ("Gi", 1024)):
        if mib % units_mib == 0:
            return f"{mib // units_mib}{unit}"
    return f"{mib}Mi"


def variables(environment: Mapping[str, Value]) -> list[dict[str, object]]:
    """Return the variables of a container, in the order of their names."""
    return [{"name": name, **_value(environment[name])} for name in sorted(environment)]


def _value(value: Value) -> dict[str, object]:
    match value:
        case str():
            return {"value": literal(value)}
        case Source(name, key):
            return {"valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}
        case SecretSource(name, key):
            return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def literal(text: str) -> str:
    """Return `text` as commands, arguments and variables take it, which expand `$(NAME)`."""
    return text.replace("$", "$$")


def container(  # noqa: PLR0917
    name: str,
    image: str,
    command: Sequence[str],
    environment: Mapping[str, Value],
    mounts: Sequence[Mount],
    resources: Resources,
    *,
    capabilities: Sequence[str] = (),
    user: int | None = None,
    **more: object,
) -> dict[str, object]:
    """Return a container that may do nothing but write to its writable mounts and `/tmp`.

    `environment` has `/tmp` for HOME unless it says another; `capabilities` are what the container
    has of root's powers. `user` is the number of its user and group where the pod says none.
    `more` are further fields, which are taken as they are.
    """
    mounted = [*mounts, Mount("tmp", TMP, writable=True)]
    return {
        "name": name,
        "image": image,
        "command": [literal(word) for word in command],
        "env": variables({"HOME": TMP, **environment}),
        "resources": resources.manifest(),
        "volumeMounts": volume_mounts(mounted),
        "securityContext": {
            **({} if user is None else _as_user(user)),
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {
                "drop": ["ALL"],
                **({"add": list(capabilities)} if capabilities else {}),
            },
        },
        **more,
    }


def _as_user(user: int) -> dict[str, object]:
    return {"runAsUser": user, "runAsGroup": user, **({"runAsNonRoot": True} if user else {})}


def volume_mounts(mounts: Sequence[Mount]) -> list[dict[str, object]]:
    """Return where a container has its volumes."""
    return [
        {
            "name": each.volume,
            "mountPath": each.path,
            **({} if each.writable else {"readOnly": True}),
        }
        for each in mounts
    ]


def python(module: str, *arguments: str) -> list[str]:
    """Return the command line of one of our modules, which `python_environment` finds."""
    return ["python3", "-m", module, *arguments]


def python_environment(*, packages: bool = False) -> dict[str, str]:
    """Return what a container that runs our modules needs; with `packages` they import others."""
    return {
        "PYTHONPATH": f"{LIB}:{PACKAGES}" if packages else LIB,
        # What is imported lies where nobody may write.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def sleep(seconds: int) -> dict[str, object]:
    """Return the lifecycle of a container that is told to end only `seconds` after its pod is.

    Meanwhile the pod is taken out of its Services, and what it answers goes on. The kubelet itself
    waits (KEP-3960: by default from 1.30 on), so that no image needs a program for it.
    """
    return {"preStop": {"sleep": {"seconds": seconds}}}


def http_probe(path: str, port: str, *, every: int, failures: int) -> dict[str, object]:
    """Return a probe that asks every so many seconds, and takes so many failures in a row."""
    return {"httpGet": {"path": path, "port": port}, **_timing(every, failures)}


def tcp_probe(port: str, *, every: int, failures: int) -> dict[str, object]:
    """Return a probe that connects every so many seconds, and takes so many failures in a row."""
    return {"tcpSocket": {"port": port}, **_timing(every, failures)}


def _timing(every: int, failures: int) -> dict[str, object]:
    return {"periodSeconds": every, "timeoutSeconds": min(every, 10), "failureThreshold": failures}


def tmp_volume() -> dict[str, object]:
    """Return the volume of `/tmp`."""
    return scratch_volume("tmp", _TMP_LIMIT)


def scratch_volume(name: str, limit: str, *, in_memory: bool = False) -> dict[str, object]:
    """Return a volume that is empty when the pod begins, and gone when it ends."""
    medium = {"medium": "Memory"} if in_memory else {}
    return {"name": name, "emptyDir": {**medium, "sizeLimit": limit}}


def pod_template(
    plan: InNamespace,
    name: str,
    component: str,
    spec: Mapping[str, object],
    annotations: Mapping[str, str],
) -> dict[str, object]:
    """Return the template of pods of `name`, with `spec` in addition to what all pods have."""
    return {
        "metadata": {
            "labels": labels(plan, name, component),
            "annotations": dict(sorted(annotations.items())),
        },
        "spec": {
            "automountServiceAccountToken": False,
            # Else a Service's address would be a variable, and engines take some for their own:
            # LLAMA_ARG_PORT, where a Service is called llama-arg.
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                # A volume of models is not walked through at each start.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **spec,
        },
    }


def tolerations(plan: Tolerant, *, of_pool: bool) -> list[dict[str, object]]:
    """Return what pods tolerate: with `of_pool` the taint of the nodes that serve models.

    A pod of a node that is gone is given up after half a minute, not after five.
    """
    taint = plan.taint if of_pool else None
    pool = {} if taint is None else {"key": taint.key, "operator": "Equal", "value": taint.value}
    return [
        *([{**pool, "effect": "NoSchedule"}] if pool else []),
        *(
            {
                "key": f"node.kubernetes.io/{condition}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": _UNREACHABLE_SECONDS,
            }
            for condition in ("not-ready", "unreachable")
        ),
    ]


def off_the_pool() -> dict[str, object]:
    """Return the affinity of pods that keep running while no model does: away from model pools."""
    outside = {"matchExpressions": [{"key": POOL_LABEL, "operator": "DoesNotExist"}]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [outside]}
        }
    }
