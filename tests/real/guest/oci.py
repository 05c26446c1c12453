"""Container images made from this machine's own programs, without Docker.

As a registry has them: an image manifest of schema 2, a configuration and layers
(distribution.github.io/distribution/spec/manifest-v2-2). The same files make the same bytes, so an
image's digest is known before anything is pulled.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from guest.tools import run

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIGURATION = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_EPOCH = "1970-01-01T00:00:00Z"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FAST = 1
# What the health check, and the commands of a Dockerfile, have.
_USERLAND = {"/bin/sh": "dash", "/usr/bin/curl": "curl"}
_FOLDERS = ("/etc", "/proc", "/sys", "/dev", "/tmp")


@dataclass(frozen=True)
class Layer:
    """A change of a root file system: a tar archive, by its digest, and as it is sent."""

    diff_id: str
    packed: bytes


@dataclass(frozen=True)
class Image:
    """`blobs` are the configuration and the layers by their digests."""

    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """The manifest's digest, by which an image is pinned: `sha256:…`."""
        return _digest(self.manifest)


def base_image() -> Image:
    """Return an image with a shell and curl, for a Dockerfile to begin from."""
    return _image([_userland()], {"Env": [_PATH], "Cmd": ["/bin/sh"]})


def llama_image(server: Path) -> Image:
    """Return an image whose program is `server`, as llama.cpp's own server images are set up.

    Their source is `.devops/cuda.Dockerfile`, target `server`. Its health check asks a port that
    the server no longer listens on by itself.
    """
    return _image(
        [_userland(), _layer(server_files(server))],
        {
            "Env": [_PATH, "LLAMA_ARG_HOST=0.0.0.0"],
            "WorkingDir": "/app",
            "Healthcheck": {"Test": ["CMD", "curl", "-f", "http://localhost:8080/health"]},
            "Entrypoint": ["/app/llama-server"],
        },
    )


def server_files(server: Path) -> Mapping[str, Path]:
    """Return what an image of llama.cpp's has of its own: the program and what it loads."""
    return {"/app/llama-server": server, **_libraries(server)}


def _userland() -> Layer:
    files: dict[str, Path] = {}
    for place, name in _USERLAND.items():
        found = shutil.which(name)
        assert found is not None, f"an image needs this machine's {name}"
        files |= {place: Path(found), **_libraries(Path(found))}
    return _layer(files, _FOLDERS)


def _libraries(program: Path) -> dict[str, Path]:
    """Return what the dynamic linker loads for `program`, and itself, by the paths it looks at."""
    found = re.findall(r"(/\S+) \(0x", run(["ldd", program]))
    assert found, f"{program} is not linked dynamically"
    return {path: Path(path) for path in found}


def _layer(files: Mapping[str, Path], folders: Sequence[str] = ()) -> Layer:
    """Return a layer of `files`, all of them programs, and of empty `folders` beside them."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for place in sorted({*folders, *_parents(files)}):
            folder = tarfile.TarInfo(place.lstrip("/"))
            folder.type = tarfile.DIRTYPE
            folder.mode = 0o1777 if place == "/tmp" else 0o755
            archive.addfile(folder)
        for place, source in sorted(files.items()):
            content = source.read_bytes()
            entry = tarfile.TarInfo(place.lstrip("/"))
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    plain = made.getvalue()
    return Layer(_digest(plain), gzip.compress(plain, _FAST, mtime=0))


def _parents(files: Mapping[str, Path]) -> Iterator[str]:
    for place in files:
        yield from (str(parent) for parent in PurePosixPath(place).parents if parent.name)


def _image(layers: Sequence[Layer], config: Mapping[str, object]) -> Image:
    configuration = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": _EPOCH} for _ in layers],
        }
    )
    packed = [layer.packed for layer in layers]
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(_CONFIGURATION, configuration),
            "layers": [_descriptor(_LAYER, content) for content in packed],
        }
    )
    return Image(manifest, {_digest(content): content for content in (configuration, *packed)})


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
