"""A `Launch` as a detached process of this machine: the orders that `scripts.serve` is given.

Values go by environment, never by argument, so that nothing of them shows in a process list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from components.launch import Launch

RECORD_NAME = "server.json"
"""The file of a home that holds the record of its server's process."""
LOG_NAME = "server.log"
"""The file of a home that holds its server's log."""


class Variable(StrEnum):
    """The environment variables by which `scripts.serve` is told what to do."""

    HOME = "LLM_ENDPOINT_HOME"
    """Folder of the server's record, log and keys, relative to the checkout."""
    PORT = "LLM_ENDPOINT_PORT"
    """The configured port, or empty for the one it had, else a free one."""
    MODEL = "LLM_ENDPOINT_MODEL"
    """A model reference."""
    MODEL_FILE = "LLM_ENDPOINT_MODEL_FILE"
    """What `pull` printed."""
    LAUNCH = "LLM_ENDPOINT_LAUNCH"
    """A `ProcessLaunch` as JSON."""
    SERVER_BUILD = "LLM_ENDPOINT_SERVER_BUILD"
    """Which build of the program runs: `wheel`, `path` or `native`."""
    REPLACES = "LLM_ENDPOINT_REPLACES"
    """The replacement trigger that leads to this start."""
    KEYS = "LLM_ENDPOINT_KEYS"
    """A JSON list of API keys. Secret."""
    PRINTED = "PULUMI_COMMAND_STDOUT"
    """What the same resource printed before, as the command plugin passes it on."""
    URL = "LLM_ENDPOINT_URL"
    """The origin of the endpoint that is verified."""
    KEY = "LLM_ENDPOINT_KEY"
    """One API key. Secret."""
    CA = "LLM_ENDPOINT_CA"
    """PEM certificate of the CA that signed the certificate of the endpoint that is verified."""
    ADDRESS = "LLM_ENDPOINT_ADDRESS"
    """The IP address that the endpoint's domain has to point at."""
    BOOT = "LLM_ENDPOINT_BOOT"
    """Where the boot of the endpoint's machine can be read, such as `gcp:PROJECT/ZONE/VM`."""
    CLUSTER = "LLM_ENDPOINT_CLUSTER"
    """How a Kubernetes cluster is reached, as JSON: `server` and `certificate_authority`."""
    NAMESPACE = "LLM_ENDPOINT_NAMESPACE"
    """The namespace of a cluster that is meant."""
    REGISTRY = "LLM_ENDPOINT_REGISTRY"
    """URL of a model registry."""
    UPLOADS = "LLM_ENDPOINT_REGISTRY_UPLOADS"
    """What a registry is to have, as JSON: a list of `model`, as `NAME@VERSION`, and `folder`."""
    FORCE_DESTROY = "LLM_ENDPOINT_FORCE_DESTROY"
    """`1` where a bucket may be deleted with all that is in it."""
    RUNTIME_TOKEN = "LLM_ENDPOINT_RUNTIME_TOKEN"  # noqa: S105 - a name
    """The token of a notebook runtime. Secret."""
    REST = "LLM_ENDPOINT_REST"
    """What is to have no pods for now, as a JSON list of names: of servers of OpenVINO's operator,
    or with another kind before them."""
    SCALE = "LLM_ENDPOINT_SCALE"
    """How many pods each StatefulSet is to have, as JSON: name -> `replicas`, `most` where the
    cluster may choose between the two, and `kind` of what is no StatefulSet."""


@dataclass(frozen=True)
class ProcessLaunch:
    """What of a `Launch` a process needs; `Variable.SERVER_BUILD` says which program it is."""

    arguments: tuple[str, ...]
    environment: dict[str, str]

    def as_json(self) -> str:
        """One line of JSON, the same for the same launch."""
        return json.dumps(
            {
                "arguments": list(self.arguments),
                "environment": dict(sorted(self.environment.items())),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ProcessLaunch:
        """Read what `as_json` wrote."""
        content = json.loads(text)
        return cls(tuple(content["arguments"]), content["environment"])


def process_launch(launch: Launch) -> ProcessLaunch:
    """Return the process form of `launch`; its slots are filled where it starts."""
    return ProcessLaunch(
        arguments=tuple(str(word) for word in launch.arguments),
        environment=dict(launch.environment),
    )
