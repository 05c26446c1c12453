"""What stands for the images of a runtime's pod."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway_caddy import caddy_program
from guest.tools import apt
from pods.sandbox import Image
from real_packages import python

from colab.restic import restic_program
from components.rendering.kubernetes.colab.names import NOTEBOOK_PORT, ORIGIN
from components.rendering.kubernetes.colab.plan import ColabImages

IMAGES = ColabImages(runtime="colab", restic="restic", caddy="caddy", python="python")
_PATTERN = "^" + ORIGIN.replace(".", r"\.") + "$"
# As the image's front starts it, on that front's port.
_JUPYTER = (
    *("-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
    *(f"--port={NOTEBOOK_PORT}", "--ServerApp.port_retries=0"),
    *(f"--ServerApp.allow_origin_pat={_PATTERN}", "--ServerApp.allow_credentials=True"),
    *("--FileContentsManager.root_dir=/", "--FileContentsManager.allow_hidden=True"),
    "--MappingKernelManager.root_dir=/content",
)
# What the scripts use of busybox; its Debian build lacks flock, which that of Alpine has.
_APPLETS = ("sh", "cat", "date", "kill", "mkdir", "mv", "rm", "sleep", "timeout")


def images(folder: Path) -> Mapping[str, Image]:
    """Return the images by the references in `IMAGES`; they are made in `folder`."""
    return {
        IMAGES.runtime: _notebook(folder / "notebook"),
        IMAGES.restic: _restic(folder / "restic"),
        IMAGES.caddy: _caddy(folder / "caddy"),
    }


def _notebook(folder: Path) -> Image:
    """Return Jupyter under a Python that is no virtual environment: pip installs for a user."""
    folder.mkdir(parents=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base, packages = Path(sys.base_prefix), python().parent.parent / "lib" / version
    (folder / "entrypoint").write_text(
        "export PYTHONPATH=/opt/packages/site-packages PIP_BREAK_SYSTEM_PACKAGES=1\n"
        f"cd /content\nexec {base}/bin/{version} {' '.join(map(_quoted, _JUPYTER))}\n"
    )
    return Image({"/opt/image": folder, "/opt/packages": packages, str(base): base})


def _quoted(word: str) -> str:
    return f"'{word}'"


def _restic(folder: Path) -> Image:
    folder.mkdir(parents=True)
    if shutil.which("busybox") is None:
        apt("update")
        apt("install", "--yes", "--no-install-recommends", "busybox")
    for applet in _APPLETS:
        (folder / applet).symlink_to(str(shutil.which("busybox")))
    shutil.copy(restic_program(), folder / "restic")
    return Image({"/opt/image": folder})


def _caddy(folder: Path) -> Image:
    folder.mkdir(parents=True)
    shutil.copy(caddy_program(), folder / "caddy")
    return Image({"/opt/image": folder})
