"""Guests and the control plane are a lane each, and no test is of none."""

import sys
from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[1] / "real"


@pytest.fixture(scope="module")
def lane_of():
    sys.path.insert(0, str(REAL))
    try:
        from lanes import lane_of as found
    finally:
        sys.path.remove(str(REAL))
    return found


def test_guests_are_one_lane_and_the_control_planes_tests_another(lane_of):
    lanes = {lane_of(f"tests/real/{path.name}::test_x") for path in REAL.glob("test_*vm_boot.py")}
    assert lanes == {"guests"}
    assert lane_of("tests/real/test_gke_up.py::test_x[a::b]") == "cluster"


def test_any_other_file_is_its_own(lane_of):
    for file in ("tests/real/test_caddy.py", "tests/integration/test_gke_registry_stack.py"):
        assert lane_of(f"{file}::test_x") == file
