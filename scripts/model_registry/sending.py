"""A file read in parts while it is sent, held to the digest that it is to have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from scripts.model_registry.bucket import RegistryFault


class FileChanged(RegistryFault):
    """A file is another than when its digest was taken."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} changed while it was being pushed\n"
            "next: let what writes it end, and push it again",
            lasting=True,
        )


def parts(path: Path, sha256: str, part_bytes: int) -> Iterator[bytes]:
    """Yield the parts of a file that is not empty, the last one only if all is as it should be.

    So whoever sends them never ends an upload of something else. Raises `RegistryFault`.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        part = file.read(part_bytes)
        while part:
            digest.update(part)
            following = file.read(part_bytes)
            if not following and digest.hexdigest() != sha256:
                break
            yield part
            part = following
    if digest.hexdigest() != sha256:
        raise FileChanged(path)
