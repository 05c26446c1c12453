"""Google Cloud as a machine sees it: its metadata server, Secret Manager, Compute Engine.

Answers as the REST references say: cloud.google.com/compute/docs/metadata,
…/secret-manager/docs/reference/rest, …/compute/docs/reference/rest/v1.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from guest.internet import Answer, Request, Site
from guest.namespace import EXTERNAL

PROJECT = "example-project"
ZONE = "europe-west4-a"
_NUMBER = "123456789012"
_FLAVOR = {"Metadata-Flavor": "Google"}
_ACCOUNT = "instance/service-accounts/default"


@dataclass
class Google:
    """One machine's cloud. `stored` are the secrets' latest versions, by their names.

    The first `refusals` readings of a secret are refused, as they are until the machine's role has
    reached every server. `attributes` are the machine's own metadata.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    refusals: int = 0
    token: str = field(default_factory=lambda: f"ya29.{secrets.token_urlsafe(64)}")
    instance_id: str = field(default_factory=lambda: str(secrets.randbelow(10**18) + 10**18))
    readings: int = 0
    resized: list[tuple[str, int]] = field(default_factory=list)

    @property
    def sites(self) -> Mapping[str, Site]:
        """The APIs by the host that each is at."""
        return {
            "secretmanager.googleapis.com": self._secret_manager,
            "compute.googleapis.com": self._compute,
        }

    def metadata(self, request: Request) -> Answer:
        """Answer as the metadata server does."""
        if request.headers.get("metadata-flavor") != "Google":
            return Answer(403, b"Missing Metadata-Flavor:Google header.", _FLAVOR)
        path = request.path.removeprefix("/computeMetadata/v1/")
        found = self._entries().get(path.rstrip("/"))
        if found is None:
            return Answer(404, b"", _FLAVOR)
        return Answer(200, found.encode(), {**_FLAVOR, "Content-Type": "application/text"})

    def _entries(self) -> dict[str, str]:
        interface = "instance/network-interfaces/0"
        token = {"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"}
        return {
            "project/project-id": PROJECT,
            "project/numeric-project-id": _NUMBER,
            "instance/id": self.instance_id,
            "instance/name": "guest",
            "instance/hostname": f"guest.{ZONE}.c.{PROJECT}.internal",
            "instance/zone": f"projects/{_NUMBER}/zones/{ZONE}",
            f"{interface}/access-configs/0/external-ip": EXTERNAL,
            f"{_ACCOUNT}/token": json.dumps(token),
            f"{_ACCOUNT}/email": f"guest@{PROJECT}.iam.gserviceaccount.com",
            **{f"instance/attributes/{name}": text for name, text in self.attributes.items()},
        }

    def _refused(self, request: Request) -> Answer | None:
        if request.headers.get("authorization") == f"Bearer {self.token}":
            return None
        return _error(401, "Request had invalid authentication credentials.")

    def _secret_manager(self, request: Request) -> Answer:
        path = re.fullmatch(
            rf"/v1/projects/{PROJECT}/secrets/([^/]+)/versions/latest:access", request.path
        )
        if path is None or request.method != "GET":
            return _error(404, "Method not found.")
        if refused := self._refused(request):
            return refused
        self.readings += 1
        if self.readings <= self.refusals:
            return _error(403, "Permission 'secretmanager.versions.access' denied.")
        data = self.stored.get(path[1])
        if data is None:
            return _error(404, f"Secret [projects/{_NUMBER}/secrets/{path[1]}] not found.")
        payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(crc32c(data))}
        name = f"projects/{_NUMBER}/secrets/{path[1]}/versions/1"
        return _json(200, {"name": name, "payload": payload})

    def _compute(self, request: Request) -> Answer:
        path = re.fullmatch(
            rf"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instanceGroupManagers/([^/]+)/resize",
            request.path,
        )
        if path is None or request.method != "POST":
            return _error(404, "Method not found.")
        if refused := self._refused(request):
            return refused
        self.resized.append((path[1], int(request.query["size"][0])))
        return _json(200, {"kind": "compute#operation", "status": "RUNNING"})


def _json(status: int, content: object) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _error(status: int, message: str) -> Answer:
    return _json(status, {"error": {"code": status, "message": message}})


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data` by table, as RFC 3720 has it."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = _CRC_TABLE[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
    return remainder ^ 0xFFFFFFFF


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 * (byte & 1))
    return byte


_CRC_TABLE = [_crc_entry(byte) for byte in range(256)]
