"""Where a machine finds what is rendered for it (`machine.paths`, as seen from here)."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
"""This project's own root, where the files that are rendered lie."""
FILES = CHECKOUT / "components" / "rendering" / "files"

SETTINGS = "/etc/llm-endpoint/machine.json"
CADDYFILE = "/etc/llm-endpoint/Caddyfile"
UNITS = "/etc/systemd/system"
DOCKER_DAEMON = "/etc/docker/daemon.json"
NVIDIA_KEY = "/etc/apt/keyrings/nvidia-container-toolkit.asc"
NVIDIA_ARCHIVE = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"
KEPT_DRIVER = "/etc/apt/apt.conf.d/52llm-endpoint-driver"
BASE = "/opt/llm-endpoint"
LIB = f"{BASE}/lib"
REQUIREMENTS = f"{BASE}/requirements"
CADDY_BUILD = f"{BASE}/caddy-build"
ARCHIVE = f"{BASE}/files.tar.bz2"
MODELS = "/var/lib/llm-endpoint/models"
"""All that our downloader ever hands an engine lies below it (`scripts.models.store`)."""
HUB = "/var/lib/llm-endpoint/hub"


def venv(requirements: str) -> str:
    """Return the folder of the virtual environment of the lock called `requirements`."""
    return f"{BASE}/engines/{requirements}"


def model_variables(server: str) -> str:
    """Return the file that tells the unit of `server` which model file it serves."""
    return f"/run/llm-endpoint/server-{server}.env"


def container_cache(server: str) -> str:
    """Return the folder of what the container of `server` keeps from one start to the next.

    On the boot disk, since programs that were compiled there are run from it: the cache disk is
    mounted noexec.
    """
    return f"/var/cache/llm-endpoint/{server}"
