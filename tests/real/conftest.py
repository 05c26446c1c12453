"""What the real tests share with the unit tests, the stand-in for the hub; and their order.

The control plane takes minutes to build, and guests are mostly waited for: its tests come last, and
it is built in the meantime.
"""

import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_OF_THE_CONTROL_PLANE = ("test_control_plane", "test_gke_")
_BUILDING = pytest.StashKey[subprocess.Popen[bytes]]()

sys.path.insert(0, str(_HERE.parent / "unit"))


def _is_of_the_control_plane(item: pytest.Item) -> bool:
    own = item.path.is_relative_to(_HERE)
    return own and item.path.name.startswith(_OF_THE_CONTROL_PLANE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the control plane's tests last."""
    items.sort(key=_is_of_the_control_plane)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build it where tests of it are to run."""
    if session.config.option.collectonly or not any(map(_is_of_the_control_plane, session.items)):
        return
    from cluster.build import start_building

    building = start_building()
    if building is not None:
        session.config.stash[_BUILDING] = building


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the build, if it is still at it."""
    building = session.config.stash.get(_BUILDING, None)
    if building is not None:
        building.terminate()
        building.wait()
