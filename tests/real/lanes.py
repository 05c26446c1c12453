"""In which order the real tests run, and which of them side by side.

Guests, which are mostly waited for, are one lane, one guest after another; what needs the control
plane is another, so that there is one of it. Any other file is a lane of its own. Lanes run side by
side (`-n 2`), guests first, the control plane's last: it is built in the meantime.
"""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import cluster.build
import colab.restic
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

_GUESTS = ("test_cpu_vm_", "test_gpu_vm_", "test_docker_guest", "test_localllm_boot")
_CLUSTER = ("test_control_plane", "test_gke_")
_LANES = {**dict.fromkeys(_GUESTS, "guests"), **dict.fromkeys(_CLUSTER, "cluster")}
_ORDER = {"guests": 0, "cluster": 2}
_OTHERS = 1
_BUILDS = {
    "cluster": cluster.build.start_building,
    "tests/real/test_colab_runtime": colab.restic.start_building,
}
"""By the beginning of a lane's name, what builds for it in the background."""
_BUILDING = pytest.StashKey[list[subprocess.Popen[bytes]]]()


def lane_of(nodeid: str) -> str:
    """Return the lane of a test, by its file."""
    file = PurePosixPath(nodeid.partition("::")[0])
    ours = _LANES.items() if file.parent.name == "real" else ()
    return next((lane for start, lane in ours if file.name.startswith(start)), str(file))


class Lanes(LoadScopeScheduling):
    """Hands out whole lanes, in the order of their tests."""

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """Have lanes where tests run side by side."""
    config.option.loadscopereorder = False
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in the order of their lanes."""
    items.sort(key=lambda item: _ORDER.get(lane_of(item.nodeid), _OTHERS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build what takes long, where tests run one after another."""
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        _start_building(session.config, (item.nodeid for item in session.items))


@pytest.hookimpl
def pytest_xdist_node_collection_finished(node: WorkerController, ids: Sequence[str]) -> None:
    """Do the same where they run side by side, once whoever is first knows which they are."""
    _start_building(node.config, ids)


def _start_building(config: pytest.Config, ids: Iterable[str]) -> None:
    if _BUILDING in config.stash:
        return
    wanted = {start for nodeid in ids for start in _BUILDS if lane_of(nodeid).startswith(start)}
    if not wanted:
        return
    started = [_BUILDS[start]() for start in sorted(wanted)]
    config.stash[_BUILDING] = [each for each in started if each is not None]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what is still being built."""
    for building in session.config.stash.get(_BUILDING, []):
        building.terminate()
        building.wait()
