"""How a cluster's control plane is reached. It names who is asked for, and holds no credential."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = "llm-endpoint"
_API_VERSION = "client.authentication.k8s.io/v1"


@dataclass(frozen=True)
class ClusterAccess:
    """A control plane: its URL, and the CA of its certificate, PEM.

    Without `certificate_authority` a public one has signed.
    """

    server: str
    certificate_authority: str | None = None

    def as_json(self) -> str:
        """One line of JSON, the same for the same access."""
        return json.dumps(
            {"server": self.server, "certificate_authority": self.certificate_authority}
        )

    @classmethod
    def from_json(cls, text: str) -> ClusterAccess:
        """Read what `as_json` wrote."""
        content = json.loads(text)
        return cls(content["server"], content["certificate_authority"])


def kubeconfig(access: ClusterAccess, python: Sequence[str]) -> str:
    """Return a kubeconfig, as JSON, whose user is whoever runs it.

    `python` starts Python with this project's packages, in whose folder the caller has to be. A
    token would be dead an hour later, when `destroy` asks with what the state has recorded.
    """
    cluster: dict[str, str] = {"server": access.server}
    if access.certificate_authority is not None:
        pem = access.certificate_authority.encode()
        cluster["certificate-authority-data"] = base64.b64encode(pem).decode()
    command, *arguments = python
    credential = {
        "apiVersion": _API_VERSION,
        "command": command,
        "args": [*arguments, "-m", "scripts.gke.credential"],
        "interactiveMode": "Never",
        "provideClusterInfo": False,
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": _NAME, "cluster": cluster}],
            "users": [{"name": _NAME, "user": {"exec": credential}}],
            "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
            "current-context": _NAME,
        }
    )
