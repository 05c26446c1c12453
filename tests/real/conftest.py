"""What the real tests share with the unit tests, and in which of two lanes each runs.

There is one guest at a time, which is mostly waited for: the control plane's tests run beside it.
"""

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_OF_THE_CONTROL_PLANE = ("test_control_plane", "test_gke_")

sys.path.insert(0, str(_HERE.parent / "unit"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each file of this folder into its lane (pytest-xdist, `--dist loadgroup`)."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            cluster = item.path.name.startswith(_OF_THE_CONTROL_PLANE)
            item.add_marker(pytest.mark.xdist_group("cluster" if cluster else "guests"))
