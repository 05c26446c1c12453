"""Where a machine finds what is rendered for it (`machine.paths`, as seen from here)."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
"""This project's own root, where the files that are rendered lie."""
FILES = CHECKOUT / "components" / "rendering" / "files"

SETTINGS = "/etc/llm-endpoint/machine.json"
CADDYFILE = "/etc/llm-endpoint/Caddyfile"
UNITS = "/etc/systemd/system"
BASE = "/opt/llm-endpoint"
LIB = f"{BASE}/lib"
REQUIREMENTS = f"{BASE}/requirements"
CADDY_BUILD = f"{BASE}/caddy-build"
ARCHIVE = f"{BASE}/files.tar.bz2"
HUB = "/var/lib/llm-endpoint/hub"


def venv(requirements: str) -> str:
    """Return the folder of the virtual environment of the lock called `requirements`."""
    return f"{BASE}/engines/{requirements}"


def model_variables(server: str) -> str:
    """Return the file that tells the unit of `server` which model file it serves."""
    return f"/run/llm-endpoint/server-{server}.env"
