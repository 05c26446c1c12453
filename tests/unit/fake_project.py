"""A Google Cloud project for scripts/doctor, on a fake of its APIs."""

from __future__ import annotations

import json
from pathlib import Path

from fake_endpoint import FakeEndpoint
from fake_google_apis import Asked, FakeApis

from scripts.bootstrap.finding import Finding
from scripts.gcp import configuration
from scripts.gcp.doctor import findings

CONFIG = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "llm-endpoint:allowed_cidrs": "198.51.100.7/32",
}
PROJECT = "cloudresourcemanager/v1/projects/my-project"
COMPUTE = "compute/v1/projects/my-project"
ZONE = f"{COMPUTE}/zones/europe-west4-a"
REGION = f"{COMPUTE}/regions/europe-west4"
IMAGE = "compute/v1/projects/debian-cloud/global/images/family/debian-12"


def text(found: list[Finding]) -> str:
    """Return the findings as they are printed."""
    return "\n".join(map(str, found))


def quotas(**limits: tuple[float, float]) -> dict[str, object]:
    entries = [
        {"metric": m, "limit": limit, "usage": usage} for m, (limit, usage) in limits.items()
    ]
    return {"quotas": entries}


REGIONAL = {
    "CPUS": (72.0, 8.0),
    "N2_CPUS": (8.0, 4.0),
    "PREEMPTIBLE_CPUS": (0.0, 0.0),
    "SSD_TOTAL_GB": (500.0, 0.0),
    "STATIC_ADDRESSES": (8.0, 0.0),
    "IN_USE_ADDRESSES": (8.0, 0.0),
}


class FakeProject:
    """A project in which everything is as it should be, until a test breaks something."""

    def __init__(
        self, google: FakeApis, page: FakeEndpoint, folder: Path, stack: str = "cpu-vm"
    ) -> None:
        self.google = google
        self.folder = folder
        self.stack = stack
        self.lacking: set[str] = set()
        self.disabled: set[str] = set()
        page.on("GET", "/ip", lambda exchange: exchange.send(200, b"198.51.100.7\n"))
        self.environment = {
            **google.environment,
            "LLM_ENDPOINT_ADDRESS_SERVICE": f"{page.url}/ip",
        }
        google.on(PROJECT, (200, {"lifecycleState": "ACTIVE", "projectNumber": "123"}))
        google.on(
            "cloudbilling/v1/projects/my-project/billingInfo", (200, {"billingEnabled": True})
        )
        google.on("serviceusage/v1/projects/my-project/services:batchGet", self._services)
        google.on(f"{PROJECT}:testIamPermissions", self._permissions)
        machine = {"guestCpus": 16, "memoryMb": 65536}
        for kind in ("e2-standard-16", "n2-standard-16", "c4-standard-16"):
            google.on(f"{ZONE}/machineTypes/{kind}", (200, machine))
        google.on(IMAGE, (200, {"name": "debian-12-bookworm-v20261110", "diskSizeGb": "10"}))
        google.on(REGION, (200, quotas(**REGIONAL)))
        overall = quotas(CPUS_ALL_REGIONS=(32.0, 8.0), NETWORKS=(5.0, 1.0))
        google.on(COMPUTE, (200, overall))
        self.configure()

    def _services(self, asked: Asked) -> tuple[int, object]:
        every = ("compute", "secretmanager", "iam", "dns", "cloudresourcemanager", "storage")
        states = {one: "DISABLED" if one in self.disabled else "ENABLED" for one in every}
        services = [
            {"name": f"projects/123/services/{one}.googleapis.com", "state": state}
            for one, state in states.items()
        ]
        return 200, {"services": services}

    def _permissions(self, asked: Asked) -> tuple[int, object]:
        wanted = [one for one in asked.body["permissions"] if one not in self.lacking]
        return 200, {"permissions": wanted}

    def configure(self, **changed: str) -> None:
        values = {**CONFIG, **{f"llm-endpoint:{name}": value for name, value in changed.items()}}
        self.write(values)

    def write(self, values: dict[str, object]) -> None:
        # YAML reads JSON.
        text = json.dumps({"encryptionsalt": "v1:x", "config": values})
        (self.folder / f"Pulumi.{self.stack}.yaml").write_text(text, encoding="utf-8")

    def find(self, **environment: str) -> list[Finding]:
        config = configuration.read(self.stack, self.folder)
        return list(findings(config, {**self.environment, **environment}))

    def problem(self) -> Finding:
        """Return the one problem that is found."""
        (found,) = [one for one in self.find() if one.verdict == "problem"]
        return found
