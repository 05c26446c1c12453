"""What stands for the images of pods: files of this machine."""

from __future__ import annotations

import shlex
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import real_packages
from gateway_caddy import caddy_program

from components.container_images import pod_image, support_images
from pods.deployed import ROOT
from pods.sandbox import Image

_CHECKOUT, _PACKAGES, _COMPUTING = "/opt/checkout", "/opt/packages", "/opt/computing"
"""Places of their own: a checkout below /tmp would lie behind the container's."""


def images(folder: Path, *, pip: bool = True, classic: bool = False) -> dict[str, Image]:
    """Return the images by their references; what is made of them lies in `folder`.

    Without `pip` nothing can be installed. With `classic` the model server really computes classic
    models, by packages of its own.
    """
    base = Path(sys.base_prefix)
    # A system's own Python may lack pip, which the image's has.
    python = folder / "python"
    venv.create(python, symlinks=True, with_pip=pip)
    caddy = folder / "caddy" / "bin"
    caddy.mkdir(parents=True)
    shutil.copy(caddy_program(), caddy / "caddy")
    engine = folder / "ovms" / "bin"
    engine.mkdir(parents=True)
    own = {str(base): base, _CHECKOUT: ROOT, _PACKAGES: Path(sysconfig.get_path("purelib"))}
    interpreter = base / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    modules = f"{_CHECKOUT}/tests/real:{_CHECKOUT}"
    lines = [
        "#!/bin/sh",
        "export PYTHONDONTWRITEBYTECODE=1",
        f"export PYTHONPATH={modules}:{_CHECKOUT}/tests/unit:{_PACKAGES}",
        f'exec {shlex.quote(str(interpreter))} -m pods.engine "$@"',
    ]
    if classic:
        installed = real_packages.python().parents[1] / "lib" / interpreter.name
        own[_COMPUTING] = installed / "site-packages"
        lines[2:2] = [
            'case " $* " in *" --config_path "*)',
            f"\texport PYTHONPATH={modules}:{_COMPUTING}",
            f'\texec {shlex.quote(str(interpreter))} -m pods.classic_engine "$@" ;;',
            "esac",
        ]
    (engine / "ovms").write_text("\n".join([*lines, ""]))
    for program in (caddy / "caddy", engine / "ovms"):
        program.chmod(0o755)
    return {
        support_images().python: Image({"/usr/local": python, str(base): base}),
        support_images().caddy: Image({"/usr/local": caddy.parent}),
        pod_image("ovms").reference: Image({"/ovms": engine.parent, **own}),
    }
