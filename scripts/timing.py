"""`python -m scripts.timing`: the tool's own speed, as one JSON line of seconds.

It runs the local program with the stand-in model on a stack, a backend and a configuration of its
own, which it removes, and compares previews with an empty Pulumi program's in the same run.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
STACK = "timing"
CONFIGURATION = CHECKOUT / "stacks" / f"Pulumi.{STACK}.yaml"
PREVIEWS = 3
LIMIT_SECONDS = 600

CONFIGURED = """\
config:
  llm-endpoint:program: local
  llm-endpoint:model: builtin:stand-in
"""
EMPTY_PROJECT = """\
name: llm-endpoint
runtime: python
"""


def main() -> int:
    """Measure and print; returns 1 with what failed where a command fails."""
    if CONFIGURATION.exists():
        print(f"{CONFIGURATION} exists: a stack of that name is in use", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="llm-endpoint-timing-") as folder:
        backend = Path(folder, "backend")
        backend.mkdir()
        environment = {
            **os.environ,
            "PULUMI_BACKEND_URL": backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "timing",
        }
        try:
            print(json.dumps(_measure(Path(folder), environment)))
        except subprocess.CalledProcessError as error:
            print(f"{error}\n{error.stdout}\n{error.stderr}", file=sys.stderr)
            return 1
        finally:
            _run(["scripts/down", STACK, "--remove"], environment, check=False)
            CONFIGURATION.unlink(missing_ok=True)
    return 0


def _measure(folder: Path, environment: Mapping[str, str]) -> dict[str, float]:
    empty = folder / "empty"
    empty.mkdir()
    (empty / "Pulumi.yaml").write_text(EMPTY_PROJECT, encoding="utf-8")
    (empty / "__main__.py").touch()
    pulumi = str(CHECKOUT / "scripts" / "pulumi")
    CONFIGURATION.write_text(CONFIGURED, encoding="utf-8")
    _run([pulumi, "stack", "init", STACK], environment)
    # The empty program is run on the same stack, so that what is compared is the program alone.
    shutil.copy(CONFIGURATION, empty / CONFIGURATION.name)

    preview = [pulumi, "preview", "--stack", STACK, "--non-interactive"]
    ours: list[float] = []
    nothing: list[float] = []
    for _ in range(PREVIEWS):
        nothing.append(_run([*preview, "--cwd", str(empty)], environment))
        ours.append(_run(preview, environment))
    up = _run(["scripts/up", STACK], environment)
    unchanged = _run(["scripts/up", STACK], environment)
    return {
        "preview_seconds": round(statistics.median(ours), 2),
        "empty_preview_seconds": round(statistics.median(nothing), 2),
        "preview_over_empty_seconds": round(
            statistics.median(ours) - statistics.median(nothing), 2
        ),
        "up_to_verified_seconds": round(up, 2),
        "unchanged_up_seconds": round(unchanged, 2),
    }


def _run(command: list[str], environment: Mapping[str, str], *, check: bool = True) -> float:
    started = time.monotonic()
    subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=check,
    )
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
