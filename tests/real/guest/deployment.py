"""A machine as deployed: what is rendered, the secrets beside it, and who talks to the endpoint."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import requests

from components.rendering.machine.plan import CACHE_DISK
from components.settings import Settings
from guest.cloud import URL, Cloud
from guest.internet import Site
from guest.machine import Machine
from guest.namespace import EXTERNAL
from scripts.bootstrap.places import this_checkout
from scripts.models.stand_in import write_stand_in
from stacks import PROGRAMS, gcp_vm

ROOT = this_checkout().root
STACK = "boot-test"
REPOSITORY, FILE = "example-org/stand-in-GGUF", "stand-in.gguf"
EMBEDDER = "example-org/stand-in-embedder-GGUF:stand-in-embedder.gguf"
"""A model that makes embeddings alone."""
LOCKS = ("machine", "llama-wheel", "go")
GO_MODULE = ROOT / "components/rendering/files/caddy-build"
KEYS_SECONDS = 75
"""Keys are read each minute."""

Result = TypeVar("Result")


def settings(program: str = "cpu-vm", **changed: str | None) -> Settings:
    """Return the settings of a stack of `program`; a setting that is None is left out."""
    raw = {
        "gcp:project": "example-project",
        "gcp:zone": "europe-west4-a",
        "allowed_cidrs": "203.0.113.0/24",
        "machine_type": "e2-standard-4",
        "model": f"{REPOSITORY}:{FILE}",
        "embeddings_model": f"{REPOSITORY}:{FILE}",
        "context_tokens": "16384",
        "slots": "2",
    } | changed
    given = {key: value for key, value in raw.items() if value is not None}
    return PROGRAMS[program].settings(given)


def files(program: str = "cpu-vm", **changed: str | None) -> Mapping[str, str]:
    """Return what the stack is rendered to; a setting that is None is left out."""
    module = import_module(f"stacks.{PROGRAMS[program].module}")
    return module.files(settings(program, **changed), STACK)


@dataclass
class Deployment:
    """A cloud, the machine in it, and the secrets that `up` would have made."""

    cloud: Cloud
    machine: Machine
    certificate: str
    authority_key: str
    keys: dict[str, str]
    every_key: set[str] = field(default_factory=set)

    def store(self, **keys: str) -> None:
        """Let these be the endpoint's keys, as a next version of the secret."""
        self.keys = keys
        self.every_key.update(keys.values())
        name = f"{gcp_vm.base_name(STACK)}-keys"
        self.cloud.google.stored[name] = json.dumps(keys).encode()

    def verify(
        self, *options: str, claims: str = "embeddings,tool_calls,json_schema"
    ) -> subprocess.CompletedProcess[str]:
        """Run the verification as the deployer does."""
        return self.cloud.deployer(
            *("scripts.verify", URL, "--key-env", "KEY", "--ca-env", "CA", "--stand-in"),
            *("--claims", claims, *options),
            environment={"KEY": self.keys["default"], "CA": self.certificate},
        )

    def assert_verified(self, *options: str) -> dict[str, Any]:
        """Verify, and return the receipt."""
        done = self.verify("--wait-seconds", "60", *options)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.machine.tail()}"
        receipt = json.loads(done.stdout)
        assert receipt["status"] == "passed"
        return receipt

    def ask(self, key: str | None) -> int:
        """Return the status that a request with `key` gets."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.on_internet(
            lambda session: session.get(f"{URL}/v1/models", headers=headers, timeout=30).status_code
        )

    def on_internet(self, function: Callable[[requests.Session], Result]) -> Result:
        """Call `function` where clients are, with a session that trusts the endpoint alone."""
        bundle = self.cloud.folder / "endpoint.pem"
        bundle.write_text(self.certificate)

        def asked() -> Result:
            with requests.Session() as session:
                session.verify, session.trust_env = str(bundle), False
                return function(session)

        return self.cloud.network.on_internet(asked)

    def wait_for_status(self, key: str, status: int) -> None:
        """Wait until a request with `key` gets `status`, as long as keys may take."""
        self.machine.wait_for(
            lambda: self.ask(key) == status, KEYS_SECONDS, f"the key to get {status}"
        )


def own_authority() -> tuple[str, str]:
    """Return certificate and key as `up` has them made."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.own_ca"],
        cwd=ROOT,
        env={"LLM_ENDPOINT_ADDRESS": EXTERNAL},
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    return made["certificate"], made["key"]


def new_key() -> str:
    """Return an API key."""
    return f"sk-{secrets.token_urlsafe(32)}"


def made_cloud(
    folder: Path, locks: Sequence[str] = LOCKS, more: Mapping[str, Site] | None = None
) -> Cloud:
    """Return a cloud whose hub has the stand-in models, which are made in `folder`.

    PyPI has what the hashed `locks` name, and `more` are further sites.
    """
    made = Cloud([ROOT / "requirements" / f"{name}.txt" for name in locks], GO_MODULE, more)
    write_stand_in(folder / FILE)
    made.hub.put(REPOSITORY, {FILE: (folder / FILE).read_bytes()})
    repository, _, file = EMBEDDER.partition(":")
    write_stand_in(folder / file, pools=True)
    made.hub.put(repository, {file: (folder / file).read_bytes()})
    return made


def deploy(cloud: Cloud, disk_content: Path | None, **changed: str | None) -> Deployment:
    """Return a machine of `cpu-vm` that is off, with the secrets that it will read."""
    return deploy_files(cloud, disk_content, files(**changed))


def deploy_files(
    cloud: Cloud, disk_content: Path | None, rendered: Mapping[str, str]
) -> Deployment:
    """Return a machine that is off and gets what was `rendered`, with its secrets."""
    certificate, key = own_authority()
    machine = cloud.machine(
        rendered["user-data.yaml"], rendered["startup-script.sh"], CACHE_DISK, disk_content
    )
    made = Deployment(cloud, machine, certificate, key, {})
    made.store(default=new_key())
    name = f"{gcp_vm.base_name(STACK)}-ca"
    cloud.google.stored[name] = json.dumps({"certificate": certificate, "key": key}).encode()
    return made


def keep_build(machine: Machine, place: Path) -> None:
    """Keep what the machine built for its successors: the folder `build` of its disk."""
    fresh = place.with_name(f"{place.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    found = Path(f"/proc/{machine.leader()}/root/var/lib/llm-endpoint/build")
    shutil.copytree(found, fresh / "build")
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
