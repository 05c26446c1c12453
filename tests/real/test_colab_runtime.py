"""A Colab runtime's pod for real: its files outlive an eviction, and only Colab's pages get in.

The scripts, restic, Caddy and the pod's own words are those of a cluster; Jupyter of the package
index is in the place of Colab's image, and moto in that of the storage.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import websocket
from colab.images import IMAGES, images
from colab.notebook import Notebook
from colab.pod import STORAGE, Disks, RuntimePod
from colab.storage import BUCKET, KEY_ID, SECRET_KEY, Storage, storage
from pods.sandbox import Image

from components.models.registry import parse_registry_url
from components.rendering.kubernetes.colab import names
from components.rendering.kubernetes.colab.plan import Backup, ColabPlan
from components.rendering.kubernetes.plan import PodResources

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="pods as processes need root"),
]

TOKEN = "token-of-the-test"
NOTICE_SECONDS = 15.0
"""What Google gives pods of a Spot node."""
MIB = 2**20
URL = f"s3://{BUCKET}?endpoint=http://{STORAGE[0]}:{STORAGE[1]}&region=us-east-1"
PLAN = ColabPlan(
    base_name="llm-endpoint-colab",
    namespace="colab-llm-cpu",
    images=IMAGES,
    resources=PodResources(2, 2**30),
    taint=None,
    storage_class="premium-rwo",
    data_gb=100,
    libraries_gb=30,
    backup=Backup(parse_registry_url(URL), every_minutes=60, has_secret=True),
)
SECRETS = {
    names.TOKEN_SECRET: {names.TOKEN_KEY: TOKEN},
    names.BACKUP_SECRET: {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    return dict(images(tmp_path_factory.mktemp("images")))


@pytest.fixture
def bucket() -> Iterator[Storage]:
    with storage() as bucket:
        yield bucket


class Cluster:
    """Makes one pod after another on the same disks; the last one goes with the test."""

    def __init__(self, folder: Path, made: dict[str, Image], bucket: Storage) -> None:
        self._folder, self._made, self._bucket = folder, made, bucket
        self._stack = ExitStack()
        self._count = 0
        self.disks = Disks(folder / "disks")

    def pod(self) -> RuntimePod:
        self._stack.close()
        self._count += 1
        folder = self._folder / f"pod-{self._count}"
        return self._stack.enter_context(
            RuntimePod(PLAN, self.disks, folder, self._made, SECRETS, self._bucket.port)
        )

    def close(self) -> None:
        self._stack.close()

    @property
    def data(self) -> Path:
        return self.disks.of(names.DATA_CLAIM)


@pytest.fixture
def cluster(tmp_path: Path, made: dict[str, Image], bucket: Storage) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, made, bucket)
    yield cluster
    cluster.close()


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.02)


def files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a disk that is people's, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and names_own(path.relative_to(folder))
    }


def names_own(path: Path) -> bool:
    return path.parts[0] not in {".llm-endpoint", ".cache"}


def script(pod: RuntimePod, container: str, name: str, *words: str) -> int:
    """Run a script in one like `container` until it ends; return its status."""
    made = pod.run(pod.container(container), ["sh", f"/opt/llm-endpoint/colab/{name}.sh", *words])
    return made.wait(120)


def succeed(pod: RuntimePod, container: str, name: str, *words: str) -> None:
    assert script(pod, container, name, *words) == 0, pod.log()


def tiny_wheel(folder: Path) -> bytes:
    """Return a wheel of a package with one module, `tiny`, whose `answer` is 42."""
    source = folder / "tiny-source"
    source.mkdir()
    (source / "tiny.py").write_text("answer = 42\n")
    metadata = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    (source / "tiny-1.0.dist-info").mkdir()
    (source / "tiny-1.0.dist-info/METADATA").write_text(metadata)
    (source / "tiny-1.0.dist-info/WHEEL").write_text(wheel)
    listed = [path for path in sorted(source.rglob("*")) if path.is_file()]
    record = "".join(f"{path.relative_to(source)},,\n" for path in listed)
    (source / "tiny-1.0.dist-info/RECORD").write_text(f"{record}tiny-1.0.dist-info/RECORD,,\n")
    target = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
    return target.read_bytes()


def test_after_an_eviction_every_file_and_library_is_there_again_on_new_disks(
    cluster: Cluster, tmp_path: Path, bucket: Storage
):
    pod = cluster.pod()
    pod.start()
    notebook = Notebook(pod.port, TOKEN)
    notebook.write("analysis.ipynb", b'{"cells": []}')
    notebook.write("tiny-1.0-py3-none-any.whl", tiny_wheel(tmp_path))
    notebook.run(
        "import subprocess, sys\n"
        "wheel = '/content/tiny-1.0-py3-none-any.whl'\n"
        "subprocess.check_output([sys.executable, '-m', 'pip', 'install', '--no-index', wheel])\n"
        "import os, pathlib\n"
        "place = pathlib.Path('/content/data/über sicht'); place.mkdir(parents=True)\n"
        "for n in range(300): (place / f'{n}.bin').write_bytes(os.urandom(2000 + n))\n"
        "(place.parent / 'weights.bin').write_bytes(os.urandom(20_000_000))\n"
        "(place.parent / 'link').symlink_to('weights.bin')\n"
        "script = place.parent / 'script.sh'; script.write_text('true'); script.chmod(0o750)\n"
        "cache = pathlib.Path('/content/.cache/huggingface'); cache.mkdir(parents=True)\n"
        "(cache / 'model').write_bytes(b'again to be had')\n"
    )
    # Written at the last moment, while the pod is told to end.
    notebook.write("last.txt", b"just before the end")
    before = files(cluster.data), files(cluster.disks.of(names.LIBRARIES_CLAIM))
    assert len(before[0]) == 306
    assert any(path.endswith("site-packages/tiny.py") for path in before[1])

    took = pod.evict(NOTICE_SECONDS)
    assert took < NOTICE_SECONDS - 1, pod.log()
    assert "the last one, since the notebook server has ended: all files" in pod.log()

    cluster.disks.lose()
    again = cluster.pod()
    again.start()
    assert (files(cluster.data), files(cluster.disks.of(names.LIBRARIES_CLAIM))) == before
    data = cluster.data / "data"
    assert (data / "link").readlink() == Path("weights.bin")
    assert (data / "script.sh").stat().st_mode & 0o777 == 0o750
    assert not (cluster.data / ".cache/huggingface/model").exists()
    notebook = Notebook(again.port, TOKEN)
    assert notebook.read("last.txt") == b"just before the end"
    assert notebook.run("import tiny\nprint(tiny.answer)") == "42\n"


def test_only_colab_s_and_one_s_own_pages_get_through_the_door(cluster: Cluster):
    pod = cluster.pod()
    pod.start()
    notebook = Notebook(pod.port, TOKEN)
    url = f"http://127.0.0.1:{pod.port}"
    assert requests.get(f"{url}/api", timeout=10).status_code == 200
    assert requests.get(f"{url}/api/status", timeout=10).status_code == 403
    kernel = notebook.ask("POST", "/api/kernels", json={"name": "python3"}).json()["id"]
    for origin in (names.ORIGIN, f"http://localhost:{pod.port}", "http://127.0.0.1:8888"):
        assert Notebook(pod.port, TOKEN, origin).ask("GET", "/api/status").status_code == 200
    notebook.channel(kernel).close()
    foreign = (
        "https://evil.example.org",
        "https://colab.research.google.com.evil.example.org",
        "https://colabXresearch.google.com",
        "http://colab.research.google.com",
        "http://localhost.evil.example.org",
        "null",
    )
    for origin in foreign:
        stranger = Notebook(pod.port, TOKEN, origin)
        refused = stranger.ask("GET", "/api/status")
        assert refused.status_code == 403, origin
        assert "Colab's website" in refused.text
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            stranger.channel(kernel)
        assert caught.value.status_code == 403
    # As a page that has its own name lead to this machine.
    rebound = notebook.ask("GET", "/api/status", headers={"Host": f"evil.example.org:{pod.port}"})
    assert rebound.status_code == 403
    pod.processes["runtime"].stop()
    until(lambda: requests.get(f"{url}/api", timeout=10).status_code == 502)
    assert TOKEN not in (pod.folder / "door.0.log").read_text()


def test_a_backup_that_was_cut_off_goes_on_with_what_it_had_sent(cluster: Cluster, bucket: Storage):
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    (cluster.data / "notes.txt").write_text("from the first one")
    succeed(pod, "keep", "backup", "first")
    size = 96 * MIB
    (cluster.data / "large.bin").write_bytes(os.urandom(size))
    held = len(bucket.objects("data/"))
    pod.run(pod.container("keep"), ["sh", "/opt/llm-endpoint/colab/backup.sh", "second"])
    until(lambda: len(bucket.objects("data/")) > held + 1)
    pod.kill()
    sent = bucket.objects("data/")
    assert len(bucket.objects("snapshots/")) == 1
    assert len(bucket.objects("locks/")) == 1
    assert sum(sent.values()) > 16 * MIB

    successor = cluster.pod()
    succeed(successor, "restore", "restore")
    succeed(successor, "keep", "backup", "third")
    assert "an earlier one was cut off" in successor.log()
    assert len(bucket.objects("snapshots/")) == 2
    assert bucket.objects("locks/") == {}
    after = bucket.objects("data/")
    assert set(sent) <= set(after)
    # What was sent before is not there twice.
    assert sum(after.values()) < size + 2 * MIB
    succeed(successor, "keep", "check")

    before = files(cluster.data)
    cluster.disks.lose()
    succeed(cluster.pod(), "restore", "restore")
    assert files(cluster.data) == before


def test_a_restore_that_was_cut_off_is_resumed_and_never_backed_up(
    cluster: Cluster, bucket: Storage
):
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    for number in range(24):
        (cluster.data / f"{number}.bin").write_bytes(os.urandom(4 * MIB))
    before = files(cluster.data)
    succeed(pod, "keep", "backup", "first")
    cluster.disks.lose()
    pod = cluster.pod()
    pod.run(pod.container("restore"))
    until(lambda: len(list(cluster.data.glob("*.bin"))) > 4)
    pod.kill()
    assert files(cluster.data) != before
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    assert files(cluster.data) == before
    # Later the disks have the word: what was changed or deleted since stays so.
    (cluster.data / "0.bin").write_bytes(b"changed")
    (cluster.data / "1.bin").unlink()
    succeed(cluster.pod(), "restore", "restore")
    assert (cluster.data / "0.bin").read_bytes() == b"changed"
    assert not (cluster.data / "1.bin").exists()


def test_disks_that_have_files_are_never_overwritten_by_an_older_backup(cluster: Cluster):
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    (cluster.data / "notes.txt").write_text("old")
    succeed(pod, "keep", "backup", "first")
    cluster.disks.lose()
    (cluster.data / "notes.txt").write_text("begun without backups")
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    assert (cluster.data / "notes.txt").read_text() == "begun without backups"
    assert "has files, which stay as they are" in pod.log()


def test_a_damaged_backup_is_noticed_by_who_restores_and_by_the_daily_check(
    cluster: Cluster, bucket: Storage
):
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    (cluster.data / "large.bin").write_bytes(os.urandom(8 * MIB))
    before = files(cluster.data)
    succeed(pod, "keep", "backup", "first")

    def largest() -> str:
        sizes = bucket.objects("data/")
        return max(sizes, key=lambda name: sizes[name])

    bucket.lose(largest())
    assert script(pod, "keep", "check") != 0
    assert "was not found sound" in pod.log()
    # As long as the disks have what is lost, it is stored again; restic tells that by this status.
    assert script(pod, "keep", "backup", "second") == 3
    succeed(pod, "keep", "check")
    cluster.disks.lose()
    succeed(pod, "restore", "restore")
    assert files(cluster.data) == before

    bucket.damage(largest())
    cluster.disks.lose()
    pod = cluster.pod()
    assert script(pod, "restore", "restore") == 1
    assert "could not be restored" in pod.log()
    assert (cluster.data / ".llm-endpoint/restore").read_text() == "begun\n"


def test_storage_that_does_not_answer_keeps_the_pod_from_starting_empty(
    cluster: Cluster, bucket: Storage
):
    pod = cluster.pod()
    succeed(pod, "restore", "restore")
    (cluster.data / "notes.txt").write_text("there")
    succeed(pod, "keep", "backup", "first")
    cluster.disks.lose()
    refused = dict(SECRETS) | {
        names.BACKUP_SECRET: {"AWS_ACCESS_KEY_ID": "AKIA-of-nobody", "AWS_SECRET_ACCESS_KEY": "no"}
    }
    pod = cluster.pod()
    pod.secrets = refused
    with bucket.checking_keys():
        assert script(pod, "restore", "restore") == 1
    assert "does not answer" in pod.log()
    assert files(cluster.data) == {}
    assert not (cluster.data / ".llm-endpoint/restore").exists()
