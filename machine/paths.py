"""Where everything is on a deployed machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The machine's files and folders below `root`, which is `/` but in tests."""

    root: Path = Path("/")

    @property
    def config(self) -> Path:
        """The settings, as `Config.load` reads them."""
        return self.root / "etc/llm-endpoint/machine.json"

    @property
    def lib(self) -> Path:
        """This project's Python modules; units have it as PYTHONPATH."""
        return self.root / "opt/llm-endpoint/lib"

    @property
    def caddy_build(self) -> Path:
        """The Go module that Caddy is built from: go.mod, go.sum, main.go."""
        return self.root / "opt/llm-endpoint/caddy-build"

    @property
    def tools(self) -> Path:
        """The virtual environment of the `model` stage and the gateway."""
        return self.root / "opt/llm-endpoint/tools"

    @property
    def caddy(self) -> Path:
        """The Caddy program."""
        return self.root / "opt/llm-endpoint/bin/caddy"

    @property
    def data(self) -> Path:
        """Mount point of the cache disk; also the cache that `scripts.models` is given."""
        return self.root / "var/lib/llm-endpoint"

    @property
    def hub(self) -> Path:
        """HF_HOME of engines that pull by themselves."""
        return self.data / "hub"

    @property
    def build(self) -> Path:
        """What was built here and can be used again after the machine was replaced."""
        return self.data / "build"

    @property
    def run(self) -> Path:
        """What is known since this boot."""
        return self.root / "run/llm-endpoint"

    @property
    def keys(self) -> Path:
        """Sha256 of each API key by the key's name, as JSON."""
        return self.run / "keys.json"

    @property
    def ca(self) -> Path:
        """Folder of our authority's `certificate.pem` and `key.pem`, for root alone."""
        return self.run / "ca"

    @property
    def host(self) -> Path:
        """LLM_ENDPOINT_HOST: the domain, or the external address, that the endpoint has."""
        return self.run / "host.env"

    @property
    def activity(self) -> Path:
        """What the gateway last wrote about its requests."""
        return self.root / "run/llm-endpoint-gateway/activity.json"

    @property
    def watched(self) -> Path:
        """What the watchdog keeps from one run to the next."""
        return self.run / "watchdog.json"

    @property
    def memory(self) -> Path:
        """The kernel's table of memory."""
        return self.root / "proc/meminfo"

    @property
    def boot_id(self) -> Path:
        """The kernel's name for this boot."""
        return self.root / "proc/sys/kernel/random/boot_id"

    @property
    def console(self) -> Path:
        """The console, which a cloud shows as the serial port's output."""
        return self.root / "dev/console"

    def requirements(self, name: str) -> Path:
        """Return the hashed lock called `name`."""
        return self.root / "opt/llm-endpoint/requirements" / f"{name}.txt"

    def engine(self, name: str) -> Path:
        """Return the virtual environment of the engine called `name`."""
        return self.root / "opt/llm-endpoint/engines" / name

    def server(self, name: str) -> Path:
        """Return the file that tells the unit of the server `name` where its model is."""
        return self.run / f"server-{name}.env"

    def disk(self, name: str) -> Path:
        """Return the block device that the cloud attached under the device name `name`."""
        return self.root / "dev/disk/by-id" / f"google-{name}"
