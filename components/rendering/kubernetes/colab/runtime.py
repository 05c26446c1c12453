"""The notebook server: a Deployment of one pod, with a door before it, and its Service.

Ports, paths and variables of the image: its own front, datalab/web, as found in public copies of
the image (read 2026-11-21); that front passes what is Jupyter's to Jupyter.
"""

from __future__ import annotations

from components.rendering.kubernetes.colab.backups import (
    backup_containers,
    backup_volumes,
    scripts,
)
from components.rendering.kubernetes.colab.names import (
    AUTHORITY_CONFIG,
    AUTHORITY_FILE,
    CONFIGURATION_ANNOTATION,
    DATA,
    DATA_CLAIM,
    DOOR,
    DOOR_PORT,
    ENDPOINT_CA_VARIABLE,
    LIBRARIES,
    LIBRARIES_CLAIM,
    NOTEBOOK_PORT,
    ORIGIN,
    PORT,
    RUNTIME,
    TOKEN_KEY,
    TOKEN_SECRET,
    TOKEN_VARIABLE,
)
from components.rendering.kubernetes.colab.network_policies import COMPONENT
from components.rendering.kubernetes.colab.plan import BESIDE_MIB, BESIDE_MILLICPUS, ColabPlan
from components.rendering.kubernetes.manifests import (
    SKIP_AWAIT,
    WAIT_FOR_ITS_END,
    Manifest,
    config_map,
    digest,
    metadata,
)
from components.rendering.kubernetes.names import CONFIGURATION, NAME_LABEL, USER
from components.rendering.kubernetes.plan import POOL_LABEL, SPOT_LABEL
from components.rendering.kubernetes.pods import (
    MIB,
    Mount,
    Resources,
    SecretSource,
    Value,
    container,
    pod_template,
    scratch_volume,
    size,
    tmp_volume,
    tolerations,
    variables,
    volume_mounts,
)
from components.rendering.machine.places import FILES

DOOR_RESOURCES = Resources(50, 64, 1000, 256)
GRACE_SECONDS = 60
"""How long the pod may take to end. Spot nodes grant 15 s of it: what then is not done goes on with
the next pod."""
_CADDYFILE = "Caddyfile"
_DOOR_PORT_NAME = "door"
_NOTEBOOK_PORT_NAME = "notebook"
_STARTING_SECONDS = 600
_AUTHORITY = f"{CONFIGURATION}/authority"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of the pod alone


def runtime_objects(plan: ColabPlan) -> list[Manifest]:
    """Return the door's configuration, the Secret without its data, the Service, the Deployment."""
    door = {_CADDYFILE: _caddyfile()}
    return [
        config_map(plan, DOOR, door, of=RUNTIME),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(plan, TOKEN_SECRET, RUNTIME),
            "type": "Opaque",
        },
        *([] if plan.endpoint is None else [config_map(plan, AUTHORITY_CONFIG, None, of=RUNTIME)]),
        _service(plan),
        _deployment(plan, digest([door, scripts()])),
    ]


def _caddyfile() -> str:
    return (FILES / "colab" / _CADDYFILE).read_text(encoding="utf-8")


def _service(plan: ColabPlan) -> Manifest:
    """Return the Service, which is never anything but the cluster's own."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, RUNTIME, annotations=SKIP_AWAIT),
        "spec": {
            "type": "ClusterIP",
            "selector": {NAME_LABEL: RUNTIME},
            "ports": [{"name": _DOOR_PORT_NAME, "port": PORT, "targetPort": _DOOR_PORT_NAME}],
        },
    }


def _deployment(plan: ColabPlan, configuration: str) -> Manifest:
    """Return the Deployment, without `replicas`: they are whoever's who scales it.

    One pod ends before the next begins: both would write to the same disks.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(plan, RUNTIME, annotations=WAIT_FOR_ITS_END),
        "spec": {
            "revisionHistoryLimit": 3,
            "strategy": {"type": "Recreate"},
            # The image is pulled for minutes, and a restore takes longer.
            "progressDeadlineSeconds": 7200,
            "selector": {"matchLabels": {NAME_LABEL: RUNTIME}},
            "template": pod_template(
                plan, RUNTIME, COMPONENT, _pod(plan), {CONFIGURATION_ANNOTATION: configuration}
            ),
        },
    }


def _pod(plan: ColabPlan) -> dict[str, object]:
    spot = {SPOT_LABEL: "true"} if plan.spot else {}
    authority = [] if plan.endpoint is None else [_config_volume("authority", AUTHORITY_CONFIG)]
    backup = backup_containers(plan)
    return {
        "serviceAccountName": RUNTIME,
        "nodeSelector": {POOL_LABEL: plan.base_name, **spot},
        "tolerations": tolerations(plan, of_pool=True),
        # The image is root's, and so are the files on the disks.
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        **({"initContainers": backup} if backup else {}),
        "containers": [_runtime(plan), _door(plan)],
        "volumes": [
            _claimed(DATA_CLAIM),
            _claimed(LIBRARIES_CLAIM),
            _config_volume("door", DOOR),
            *backup_volumes(plan),
            *authority,
            # Workers of a data loader share tensors there, for which 64 MB do not do.
            scratch_volume("shared-memory", _shared_memory(plan), in_memory=True),
            tmp_volume(),
        ],
    }


def _shared_memory(plan: ColabPlan) -> str:
    return size(plan.resources.memory_bytes // MIB // 4)


def _claimed(claim: str) -> dict[str, object]:
    return {"name": claim, "persistentVolumeClaim": {"claimName": claim}}


def _config_volume(name: str, config: str) -> dict[str, object]:
    return {"name": name, "configMap": {"name": config}}


def _runtime(plan: ColabPlan) -> dict[str, object]:
    """Return the notebook server's own container, begun as its image says."""
    authority = [] if plan.endpoint is None else [Mount("authority", _AUTHORITY)]
    mounts = (
        Mount(DATA_CLAIM, DATA, writable=True),
        Mount(LIBRARIES_CLAIM, LIBRARIES, writable=True),
        Mount("shared-memory", _SHARED_MEMORY, writable=True),
        *authority,
    )
    return {
        "name": "runtime",
        "image": plan.images.runtime,
        "env": variables(_environment(plan)),
        "ports": [{"name": _NOTEBOOK_PORT_NAME, "containerPort": NOTEBOOK_PORT}],
        "resources": _resources(plan).manifest(),
        "volumeMounts": volume_mounts(mounts),
        "securityContext": {"allowPrivilegeEscalation": False},
        # Its front outlives a Jupyter that it gave up: only what Jupyter answers itself counts.
        "startupProbe": _asks(every=5, failures=_STARTING_SECONDS // 5),
        "readinessProbe": _asks(every=5, failures=4),
        "livenessProbe": _asks(every=20, failures=6),
    }


def _resources(plan: ColabPlan) -> Resources:
    """Return the plan's resources less what the pod's other containers ask."""
    asked = plan.resources
    mib = asked.memory_bytes // MIB - BESIDE_MIB
    return Resources(asked.cpus * 1000 - BESIDE_MILLICPUS, mib, asked.cpus * 1000, mib)


def _asks(*, every: int, failures: int) -> dict[str, object]:
    """Return a probe of Jupyter's own answer, by the name under which it answers."""
    host = [{"name": "Host", "value": "localhost"}]
    return {
        "httpGet": {"path": "/api", "port": _NOTEBOOK_PORT_NAME, "httpHeaders": host},
        "periodSeconds": every,
        "timeoutSeconds": min(every, 10),
        "failureThreshold": failures,
    }


def _environment(plan: ColabPlan) -> dict[str, Value]:
    """Return what notebooks have besides the image's own variables; no key of the endpoint."""
    values: dict[str, Value] = {
        TOKEN_VARIABLE: SecretSource(TOKEN_SECRET, TOKEN_KEY),
        # What pip installs lies on a disk, and before the image's own packages.
        "PYTHONUSERBASE": LIBRARIES,
        "PIP_USER": "1",
        "HF_HOME": f"{DATA}/.cache/huggingface",
    }
    if plan.endpoint is not None:
        values["OPENAI_BASE_URL"] = f"{plan.endpoint}/v1"
        values[ENDPOINT_CA_VARIABLE] = f"{_AUTHORITY}/{AUTHORITY_FILE}"
    return values


def _door(plan: ColabPlan) -> dict[str, object]:
    return container(
        "door",
        plan.images.caddy,
        ("caddy", "run", "--config", f"{CONFIGURATION}/{_CADDYFILE}", "--adapter", "caddyfile"),
        {
            "LLM_ENDPOINT_DOOR_PORT": str(DOOR_PORT),
            "LLM_ENDPOINT_NOTEBOOK_PORT": str(NOTEBOOK_PORT),
            "LLM_ENDPOINT_ORIGIN": ORIGIN.replace(".", r"\."),
        },
        (Mount("door", CONFIGURATION),),
        DOOR_RESOURCES,
        # The image's program asks for it by its file, and is not started without.
        capabilities=("NET_BIND_SERVICE",),
        user=USER,
        ports=[{"name": _DOOR_PORT_NAME, "containerPort": DOOR_PORT}],
        readinessProbe={"tcpSocket": {"port": _DOOR_PORT_NAME}, "periodSeconds": 5},
        livenessProbe={"tcpSocket": {"port": _DOOR_PORT_NAME}, "periodSeconds": 10},
    )
