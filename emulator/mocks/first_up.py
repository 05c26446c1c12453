"""What a cloud and the commands of a stack answer at a first `up` on the recording engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

KEY = "sk-mocked"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nbW9ja2Vk\n-----END CERTIFICATE-----"
CA_KEY = "-----BEGIN PRIVATE KEY-----\nmocked\n-----END PRIVATE KEY-----"
_RECEIPT = {"schema_version": 1, "status": "passed"}
_BY_END: Mapping[str, object] = {
    "-verification": {
        **_RECEIPT,
        "endpoint_url": "https://mocked.example",
        # Of an engine that names its model itself.
        "model": {"id": "mocked-model"},
    },
    "-check": {**_RECEIPT, "models": []},
    "-ca": {"certificate": CERTIFICATE, "key": CA_KEY},
    "-model": {"sha256": "0" * 64},
    "-server": {"pid": 1, "port": 8080},
    "-scale": {},
    "-rest": [],
}


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    """Return what the command of the resource `name` prints: JSON, or a key."""
    if "-key-" in name:
        return f"{KEY}-{name}"
    found = next((said for end, said in _BY_END.items() if name.endswith(end)), {})
    return json.dumps(found)


def nothing(name: str, inputs: Mapping[str, object]) -> None:
    """Return what is known in a preview of what the commands print."""


@contextmanager
def no_cloud() -> Iterator[None]:
    """Answer for Google, which programs ask when a machine or an endpoint last stopped: never."""
    with (
        patch("scripts.gcp.instances.last_stop", lambda *_asked: ""),
        patch("scripts.gke.parked.last_parked", lambda *_asked: ""),
    ):
        yield
