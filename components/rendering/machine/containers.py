"""A model server as a container: `docker run`'s command line, which a unit keeps running.

The container has the machine's own network, where its server listens on loopback, and lies in the
slice of the engines, which keeps it from everything else (docker-run(1), systemd.slice(5)).
"""

from __future__ import annotations

import shlex

from components.rendering.machine.places import MODELS, container_cache
from components.rendering.machine.plan import BuiltImage, Container, ModelServer, PulledImage
from components.rendering.machine.words import argument, command

DOCKER = "/usr/bin/docker"
USER = "65534"
"""Number of the user and the group in the container: nobody's, on Debian and Ubuntu."""
HOME = "/cache"
"""In the container: all that it may write to but /tmp."""

# Together well under the 90 s that systemd gives a unit to start.
_WAIT_TRIES = 30
_WAIT_PAUSE_SECONDS = 2

_ENVIRONMENT = {"HOME": HOME}
_ENVIRONMENT_WITH_GPUS = {
    # Several GPUs find each other over sockets, for which these two take any network but loopback.
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
}

_CLOSED_OFF = (
    ("--network", "host"),
    ("--cgroup-parent", "llm-endpoint-engines.slice"),
    ("--user", f"{USER}:{USER}"),
    ("--read-only",),
    # Triton and others compile there and run the outcome.
    ("--tmpfs", "/tmp:rw,exec,nosuid,nodev"),  # noqa: S108 - of the container alone
    ("--cap-drop", "ALL"),
    ("--security-opt", "no-new-privileges"),
    ("--pids-limit", "4096"),
    ("--oom-score-adj", "500"),
)
# The journal has the output too; this copy is what `docker logs` reads.
_LOG = (("--log-driver", "local"), ("--log-opt", "max-size=10m"), ("--log-opt", "max-file=3"))


def run_command(
    server: ModelServer, container: Container, name: str, probed: str, *, gpus: bool
) -> list[str]:
    """Return the lines of `docker run` for `server`; the last one takes the launch's arguments.

    `name` is the container's, `probed` the URL that answers 200 where the server serves. Raises
    `WordError`.
    """
    environment = {
        **_ENVIRONMENT,
        **(_ENVIRONMENT_WITH_GPUS if gpus else {}),
        **server.launch.environment,
    }
    program, *rest = container.program
    lines = (
        ("--rm", "--pull", "never", "--name", name),
        *_CLOSED_OFF,
        ("--shm-size", f"{container.shared_memory_mb}m"),
        *((("--gpus", "all"),) if gpus else ()),
        ("--mount", f"type=bind,source={MODELS},target={MODELS},readonly"),
        ("--mount", f"type=bind,source={container_cache(server.name)},target={HOME}"),
        *_LOG,
        *_health(probed),
        *(("--env", f"{key}={value}") for key, value in sorted(environment.items())),
        ("--entrypoint", program),
        (_image_name(container.image), *rest),
    )
    return [
        command((DOCKER, "run")),
        *(" ".join(argument(word) for word in line) for line in lines),
    ]


def prepare_command(server: str) -> str:
    """Return the command line that makes the folder which the container of `server` writes to."""
    owner = (f"--owner={USER}", f"--group={USER}", "--mode=0700")
    return command(("/usr/bin/install", "--directory", *owner, container_cache(server)))


def wait_command(container: str) -> str:
    """Return the command line that waits until `container` is healthy, for a minute at most."""
    healthy = (
        f'[ "$({DOCKER} inspect --format "{{{{.State.Health.Status}}}}" {container})" = healthy ]'
    )
    tries = f"n=0; until {healthy} || [ $n -ge {_WAIT_TRIES} ]"
    script = f"{tries}; do n=$((n+1)); sleep {_WAIT_PAUSE_SECONDS}; done 2>/dev/null"
    return command(("/bin/sh", "-c", script))


def _health(probed: str) -> tuple[tuple[str, ...], ...]:
    """Return the healthcheck, in the place of the image's own, which asks another port."""
    asks = f"curl -fsS -o /dev/null {shlex.quote(probed)}"
    return (
        ("--health-cmd", asks),
        ("--health-interval", "10s", "--health-timeout", "5s", "--health-retries", "3"),
        # As long as a large model takes from a slow disk; one answer ends it.
        ("--health-start-period", "30m"),
    )


def _image_name(image: PulledImage | BuiltImage) -> str:
    match image:
        case PulledImage():
            return image.reference
        case BuiltImage():
            return image.name
