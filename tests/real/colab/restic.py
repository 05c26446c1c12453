"""restic of the version that `pins.toml` has as an image: built once from its Go module.

A minute or two on two cores. It may begin in the background, at the lowest priority, long before it
is needed: `start_building`; `restic_program` waits for that, or builds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateway_caddy import built

_SOURCES = Path(__file__).parent / "restic_build"
_PACKAGE = "github.com/restic/restic/cmd/restic"
_CHECKOUT = Path(__file__).resolve().parents[3]


def restic_program() -> Path:
    """Return restic, built once."""
    return built("restic", {path.name: path for path in sorted(_SOURCES.iterdir())}, _PACKAGE)


def start_building() -> subprocess.Popen[bytes]:
    """Begin to build it, where it is not there yet; the process ends by itself."""
    places = os.pathsep.join((str(_CHECKOUT), str(_CHECKOUT / "tests/real")))
    return subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", "colab.restic"],
        cwd=_CHECKOUT,
        env={**os.environ, "PYTHONPATH": places},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    print(restic_program())
