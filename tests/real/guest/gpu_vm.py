"""`gpu-vm` as deployed on a machine without GPUs: the same containers, of an image made here.

The image stands for llama.cpp's own at the same registry, and its program is the real server,
compiled on this machine. What builds an image is a repository of the test's own in the place of
llama.cpp's, whose Dockerfile is at the same path with the same stages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from components.container_images import BUILD
from components.rendering.machine.plan import BuiltImage, Container, MachinePlan, ModelServer
from guest.deployment import EMBEDDER, STACK, files, settings
from guest.internet import Answer, Request, Site
from guest.oci import Image, base_image, llama_image, server_files
from guest.registry import DOCKER_HUB, GITHUB, Registry
from scripts.bootstrap.places import cache_root
from scripts.serve import llama_server
from stacks import gcp_vm, gpu_vm

IMAGE = GIT_NAME = "ggml-org/llama.cpp"
TAG = "server-of-the-test"
CHAT_SERVER, EMBEDDINGS_SERVER = "llm-endpoint-server-chat", "llm-endpoint-server-embeddings"
"""The servers' containers, and their units but for `.service`."""

SETTINGS = {
    "gpu": "none",
    "image": "debian-12",
    "machine_type": "e2-standard-4",
    "embeddings_model": EMBEDDER,
    "context_tokens": "8192",
    "slots": "3",
}

# As llama.cpp's own begin, with a stage beside that can't be built.
_DOCKERFILE = """\
ARG UBUNTU_VERSION=24.04
FROM docker.io/ubuntu:$UBUNTU_VERSION AS build
ARG TARGETARCH
RUN test "$TARGETARCH" = amd64
COPY . /

FROM docker.io/ubuntu:$UBUNTU_VERSION AS base
COPY --from=build /served/ /

FROM base AS full
RUN exit 1

FROM base AS server
ENV LLAMA_ARG_HOST=0.0.0.0
WORKDIR /app
HEALTHCHECK CMD [ "curl", "-f", "http://localhost:8080/health" ]
ENTRYPOINT [ "/app/llama-server" ]
"""


def llama_cpp_server() -> Path:
    """Return llama.cpp's server, compiled on this machine (minutes, once)."""
    (program,) = llama_server.program("native", cache_root(os.environ), print)
    return Path(program)


def image() -> Image:
    """Return the image that stands for llama.cpp's."""
    return llama_image(llama_cpp_server())


def reference(of: Image) -> str:
    """Return the image's name as the configuration has it."""
    return f"{GITHUB}/{IMAGE}:{TAG}@{of.digest}"


def registry(of: Image) -> Registry:
    """Return ghcr.io with that image."""
    return Registry(GITHUB, {f"{IMAGE}:{TAG}": of})


def docker_hub() -> Registry:
    """Return Docker Hub with the image that Dockerfiles begin from."""
    return Registry(DOCKER_HUB, {"library/ubuntu:24.04": base_image()})


def gpu_files(**changed: str | None) -> Mapping[str, str]:
    """Return what the stack is rendered to; a setting that is None is left out."""
    return files("gpu-vm", **SETTINGS, **changed)


def source_repository(folder: Path, dockerfile: str) -> str:
    """Make a Git repository in `folder` that an image is built from, and return its commit."""
    target = folder / dockerfile
    target.parent.mkdir(parents=True)
    target.write_text(_DOCKERFILE)
    for place, source in server_files(llama_cpp_server()).items():
        kept = folder / "served" / place.lstrip("/")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, kept)
        kept.chmod(0o755)
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (("init", "--quiet"), ("add", "."), (*author, "commit", "--quiet", "-m", "one")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        head, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def built_plan(**changed: str | None) -> MachinePlan:
    """Return the plan of a stack whose machine builds its image."""
    given = settings("gpu-vm", **SETTINGS, container_image=BUILD, **changed)
    return gpu_vm.plan(given, STACK)


def built_image(plan: MachinePlan) -> BuiltImage:
    """Return the image that the chat server of `plan` is, which the machine builds."""
    installation = plan.servers[0].installation
    assert isinstance(installation, Container)
    assert isinstance(installation.image, BuiltImage)
    return installation.image


def built_files(plan: MachinePlan, commit: str) -> Mapping[str, str]:
    """Return what `plan` is rendered to with another commit to build: all else is the stack's."""
    planned = built_image(plan)
    image = replace(planned, source=replace(planned.source, commit=commit))
    servers: list[ModelServer] = []
    for server in plan.servers:
        assert isinstance(server.installation, Container)
        assert server.installation.image == planned
        servers.append(replace(server, installation=replace(server.installation, image=image)))
    return gcp_vm.rendered_files(replace(plan, servers=tuple(servers)))


@dataclass
class Meeting:
    """Whether two downloads are under way at once: each waits until the other one has begun too.

    `seconds` is how long the first one of each waits at most.
    """

    seconds: float = 25.0

    def __post_init__(self) -> None:
        self._begun = (threading.Event(), threading.Event())
        self._apart = threading.Event()

    @property
    def met(self) -> bool:
        """Whether both have begun, and neither waited in vain."""
        return all(event.is_set() for event in self._begun) and not self._apart.is_set()

    def side(self, number: int, path_part: str, site: Site) -> Site:
        """Return `site`, whose paths with `path_part` are one of the two downloads."""
        own, other = self._begun[number], self._begun[1 - number]

        def answer(request: Request) -> Answer:
            if request.method == "GET" and path_part in request.path and not own.is_set():
                own.set()
                if not other.wait(self.seconds):
                    self._apart.set()
            return site(request)

        return answer
