"""A stack on the real Pulumi engine, over an emulated cloud whose one machine is a guest."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import emulated_cloud
from emulated_cloud import EmulatedCloud

from guest import rootfs
from guest.cloud import Cloud
from guest.compute import Compute
from guest.deployment import FILE, REPOSITORY
from guest.google import PROJECT, ZONE
from guest.namespace import EXTERNAL


class Payloads(dict[str, bytes]):
    """Secret Manager's content: what the stack has stored in the emulated cloud."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        file = self._folder / key
        return file.read_bytes() if file.is_file() else default


@dataclass(frozen=True)
class Deployed:
    """A stack whose machine is a guest."""

    pulumi: EmulatedCloud
    compute: Compute
    cloud: Cloud

    def python(self, code: str, **environment: str) -> str:
        """Run Python where the deployer sits, and return what it prints."""
        done = subprocess.run(
            self.cloud.network.command(sys.executable, "-c", textwrap.dedent(code)),
            cwd=self.pulumi.root,
            env={**self.pulumi.environment(), **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def instance(self) -> Mapping[str, object]:
        found = [made for name, made in self.pulumi.resources().items() if "/instances/" in name]
        assert len(found) == 1
        return found[0]


@contextlib.contextmanager
def deployed_stack(cloud: Cloud, folder: Path, stack: str, **configured: str) -> Iterator[Deployed]:
    """Yield the stack `stack` of that program, made in `folder` and not up yet; ends `cloud`."""
    compute = None
    try:
        built = rootfs.folder() / "built"
        compute = Compute(cloud, built if built.exists() else None)
        made = emulated_cloud.make(folder, EXTERNAL)
        cloud.google.stored = Payloads(made.folder / "cloud" / "payloads")
        pulumi = dataclasses.replace(
            made,
            machine=compute.program,
            prefix=cloud.network.command(),
            extra=compute.variables,
        )
        pulumi.good("stack", "init", stack)
        given = {
            "gcp__project": PROJECT,
            "gcp__zone": ZONE,
            "allowed_cidrs": "203.0.113.0/24",
            "machine_type": "e2-standard-4",
            "model": f"{REPOSITORY}:{FILE}",
            "ready_minutes": "20",
        }
        pulumi.configure(stack, **(given | configured))
        yield Deployed(pulumi, compute, cloud)
    finally:
        if compute is not None:
            compute.close()
        cloud.close()


def bring_up(deployed: Deployed, stack: str) -> Deployed:
    """Run `pulumi up`, which has to show stages of the boot."""
    done = deployed.pulumi.run("up", "--yes", "--skip-preview", "--stack", stack)
    machine = deployed.compute.machine
    assert done.status == 0, f"{done.text}\n{machine.tail() if machine else 'no machine'}"
    # Not the last ones: the endpoint may have answered before the console was read again.
    for stage in ("packages", "tools"):
        assert f"{stage}: " in done.text, f"the stage is not shown:\n{done.text}"
    return deployed
