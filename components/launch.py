"""What it takes to serve a model, said without a place: the meeting point of engines and targets.

An engine turns a model into a `Launch`; a target places a `Launch`. Neither imports the other,
and nothing here imports Pulumi.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Form(StrEnum):
    """The shape in which a target takes a launch."""

    PROCESS = "process"
    CONTAINER = "container"
    POD = "pod"


class Accelerator(StrEnum):
    """The hardware that does the arithmetic."""

    CPU = "cpu"
    CUDA = "cuda"


class Slot(StrEnum):
    """A value that only the place can fill in; it stands in `Launch.arguments` as it is."""

    MODEL = "{model}"
    """Path of the model file."""
    KEY_FILE = "{key_file}"
    """Path of a file with one API key a line."""
    HOST = "{host}"
    """Address to listen on."""
    PORT = "{port}"
    """TCP port to listen on."""
    CONFIGURATION = "{configuration}"
    """Path of a file with `Launch.configuration`."""


class Capability(StrEnum):
    """What an engine claims beyond chat; verification holds it to each claim."""

    EMBEDDINGS = "embeddings"
    TOOL_CALLS = "tool_calls"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True)
class Probe:
    """How to ask a server whether it serves.

    `path`, which needs no key, answers `loading_status` while the model loads and 200 afterwards.
    `live_path` answers 200 as soon as the server listens, loading or not; None where none does.
    `state_path` tells each model's state as OpenVINO Model Server's `/v1/config` does; None where
    nothing does.
    """

    path: str
    loading_status: int = 503
    live_path: str | None = None
    state_path: str | None = None


@dataclass(frozen=True)
class Launch:
    """How one engine serves one model.

    `program` is a name on PATH, not a path. `arguments` are that program's own flags, in which a
    `Slot` stands for what the place decides. `environment` never holds a secret. `model_id` is
    the id that the server lists under `/v1/models`; None where the server makes it up itself, so
    that it is only known once the endpoint has answered. `slots` is how many requests it answers
    at once. `api_path` is where the server has OpenAI's API, which is `/v1` outside; "" is nowhere.
    `configuration` is what the server reads from a file, in which `Slot.MODEL` stands for that
    path; None for a server that reads none. It holds no secret either.
    """

    engine: str
    program: str
    arguments: tuple[str, ...]
    model_id: str | None
    probe: Probe
    forms: frozenset[Form]
    accelerators: frozenset[Accelerator]
    capabilities: frozenset[Capability] = frozenset()
    slots: int = 1
    api_path: str = "/v1"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    configuration: str | None = None

    @property
    def checks_keys(self) -> bool:
        """Whether the server itself refuses requests without a key."""
        return Slot.KEY_FILE in self.arguments

    def digest(self) -> str:
        """Sha256 of everything that decides how the server behaves, as 64 hex digits."""
        content: dict[str, object] = {
            "program": self.program,
            "arguments": list(self.arguments),
            "environment": dict(sorted(self.environment.items())),
            "model_id": self.model_id,
        }
        if self.configuration is not None:
            content["configuration"] = self.configuration
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
