"""The files that nobody reads on a machine, in one archive that is the same for the same files."""

from __future__ import annotations

import bz2
import io
import tarfile
from collections.abc import Iterable

from components.rendering.machine.places import BASE
from components.rendering.machine.rendered import MachineFile


def archive(files: Iterable[MachineFile]) -> bytes:
    """Return `files`, all of them below `BASE`, as a tar archive relative to that.

    By bzip2, since gzip's bytes differ from one zlib to another (zlib-ng), and other bytes would be
    another machine: `up` from a colleague's computer would replace it.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(files, key=lambda file: file.path):
            content = file.content.encode()
            entry = tarfile.TarInfo(file.path.removeprefix(f"{BASE}/"))
            entry.size = len(content)
            entry.mode = int(file.mode, 8)
            tar.addfile(entry, io.BytesIO(content))
    return bz2.compress(out.getvalue(), 9)
