"""A disk: a file behind a loop device."""

from __future__ import annotations

import contextlib
from pathlib import Path

from guest.tools import run


class Disk:
    """`gb` gigabytes in the file `path`, made sparse and empty; `device` is its block device."""

    def __init__(self, path: Path, gb: int) -> None:
        with path.open("xb") as file:
            file.truncate(gb * 10**9)
        self._path = path
        self.device = Path(run(["losetup", "--find", "--show", path]).strip())

    def fill(self, folder: Path) -> None:
        """Format it as the stage `disk` does, with what lies in `folder` on it."""
        run(["mkfs.ext4", "-q", "-m", "0", "-L", "llm-endpoint", "-d", folder, self.device])

    def close(self) -> None:
        """Detach the device and remove the file."""
        with contextlib.suppress(AssertionError):
            run(["losetup", "--detach", self.device])
        self._path.unlink(missing_ok=True)
