"""Docker in a guest: it pulls by digest, builds, and keeps an engine from all but loopback."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest.cloud import Cloud
from guest.deployment import GO_MODULE, LOCKS, ROOT
from guest.machine import Machine
from guest.namespace import METADATA
from guest.oci import llama_image
from guest.registry import GITHUB, Registry

from scripts.bootstrap.places import cache_root
from scripts.serve import llama_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

REPOSITORY = "ggml-org/llama.cpp"
DAEMON = {"bridge": "none", "iptables": False, "ip-forward": False}
SLICE = "llm-endpoint-engines.slice"
SLICE_UNIT = "[Slice]\nIPAddressDeny=any\nIPAddressAllow=localhost\n"
RUN = (
    *("docker", "run", "--rm", "--network", "host", "--user", "65534:65534", "--read-only"),
    *("--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
CURL = ("--silent", "--max-time", "3", "--output", "/dev/null")
CURL_TIMED_OUT = 28
PORT = 8000


@pytest.fixture(scope="module")
def registry() -> Registry:
    (server,) = llama_server.program("native", cache_root(os.environ), print)
    return Registry(GITHUB, {f"{REPOSITORY}:server": llama_image(Path(server))})


@pytest.fixture(scope="module")
def pinned(registry: Registry) -> str:
    return f"{GITHUB}/{REPOSITORY}@{registry.tags[f'{REPOSITORY}:server'].digest}"


@pytest.fixture(scope="module")
def machine(registry: Registry) -> Iterator[Machine]:
    locks = [ROOT / "requirements" / f"{name}.txt" for name in LOCKS]
    cloud = Cloud(locks, GO_MODULE, {GITHUB: registry})
    try:
        made = cloud.machine("#cloud-config\n", "#!/bin/sh\n", None)
        write(made, "etc/docker/daemon.json", json.dumps(DAEMON))
        write(made, f"etc/systemd/system/{SLICE}", SLICE_UNIT)
        made.start()
        wait_until_up(made)
        made.good("apt-get", "--quiet", "update")
        install = ("apt-get", "--quiet", "install", "--yes", "--no-install-recommends")
        made.good(*install, "docker.io", "apparmor", seconds=300)
        yield made
    finally:
        cloud.close()


def write(machine: Machine, name: str, text: str) -> None:
    """Put a file into a machine that is off."""
    path = machine.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def wait_until_up(machine: Machine) -> None:
    """Wait until all that the machine starts by itself has started."""
    machine.wait_for(lambda: machine.leader() is not None, 30, "the machine to come up")
    state = ("systemctl", "is-system-running")
    machine.wait_for(
        lambda: machine.run(*state).output.strip() == "running", 60, "the machine to be up"
    )


def test_an_image_is_pulled_by_its_digest_and_runs(machine: Machine, pinned: str):
    refused = machine.run("docker", "pull", f"{GITHUB}/{REPOSITORY}:is-not-there")
    assert "manifest unknown" in refused.output
    assert machine.run("docker", "image", "inspect", pinned).status != 0
    machine.good("docker", "pull", "--quiet", pinned)
    assert "version:" in machine.good(*RUN, "--cgroup-parent", SLICE, pinned, "--version")


def test_a_container_below_the_slice_reaches_loopback_alone(machine: Machine, pinned: str):
    serving = ("python3", "-m", "http.server", "--bind", "127.0.0.1", str(PORT))
    machine.good("systemd-run", "--quiet", "--working-directory=/srv", *serving)
    local, metadata = f"http://127.0.0.1:{PORT}/", f"http://{METADATA}/"
    outside = (*RUN, "--entrypoint", "curl", pinned, *CURL)
    inside = (*RUN, "--cgroup-parent", SLICE, "--entrypoint", "curl", pinned, *CURL)
    machine.wait_for(lambda: machine.run("curl", *CURL, local).status == 0, 30, "it to serve")
    assert machine.run(*inside, local).status == 0
    assert machine.run(*outside, metadata).status == 0, "others can, so it is there"
    assert machine.run(*inside, metadata).status == CURL_TIMED_OUT


def test_what_was_pulled_and_built_outlives_a_reboot(machine: Machine, pinned: str):
    folder = "/root/built"
    dockerfile = f"FROM {pinned}\nRUN ./llama-server --version\nENV BUILT=1\n"
    write(machine, f"{folder}/Dockerfile".lstrip("/"), dockerfile)
    machine.good("docker", "build", "--network", "host", "--tag", "built:here", folder)
    machine.reboot()
    wait_until_up(machine)
    for image in (pinned, "built:here"):
        assert "version:" in machine.good(*RUN, "--cgroup-parent", SLICE, image, "--version")
