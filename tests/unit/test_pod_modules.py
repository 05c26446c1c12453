"""Which modules pods and machines carry, and that what begins in a pod needs Python alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.rendering.machine.modules import closure, imported


def test_machines_carry_nothing_of_pods():
    names = set(closure([]))
    assert "machine/gateway/app.py" in names
    assert not [name for name in names if name.startswith("machine/pod/")]
    assert "machine/gateway/pod.py" not in names


@pytest.mark.parametrize(
    "module",
    ["machine.pod.model", "machine.pod.packages", "machine.pod.park", "machine.pod.park_runtime"],
)
def test_what_begins_in_a_pod_needs_the_standard_library_alone(tmp_path: Path, module: str):
    for path, file in imported([module]).items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {module}"
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_downloader_comes_with_the_model_and_the_machines_parts_do_not():
    names = set(imported(["machine.pod.model"]))
    assert "scripts/models/openvino.py" in names
    for other in ("machine/config.py", "machine/google.py", "machine/world.py"):
        assert other not in names
    assert not [name for name in names if "stand_in" in name]


def test_the_gateway_of_a_pod_has_no_part_of_a_machines_boot():
    names = set(imported(["machine.gateway.pod"]))
    assert "machine/gateway/app.py" in names
    for other in ("machine/config.py", "machine/paths.py", "machine/commands.py"):
        assert other not in names
