"""Uploads that were begun and not ended, noted on this machine so that the next push goes on.

A note holds what lets its bearer write that one object, so only this user may read it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_KEPT_SECONDS = 8 * 24 * 3600
"""Google ends a session after a week; buckets of ours end unfinished uploads after that too."""


@dataclass(frozen=True)
class Uploads:
    """Notes of unfinished uploads in `folder`; without one nothing is noted."""

    folder: Path | None = None

    def recall(self, bucket: str, key: str, sha256: str) -> str | None:
        """Return what names the upload of this content as that object, if one was begun."""
        path = self._path(bucket, key, sha256)
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def note(self, bucket: str, key: str, sha256: str, name: str) -> None:
        """Write down what names an upload. A disk that takes no note costs only the resuming."""
        path = self._path(bucket, key, sha256)
        if path is None:
            return
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._forget_old(path.parent)
            fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(name)
            fresh.replace(path)

    def forget(self, bucket: str, key: str, sha256: str) -> None:
        """Forget an upload that has ended."""
        path = self._path(bucket, key, sha256)
        if path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, bucket: str, key: str, sha256: str) -> Path | None:
        if self.folder is None:
            return None
        name = hashlib.sha256("\n".join((bucket, key, sha256)).encode()).hexdigest()
        return self.folder / name[:32]

    def _forget_old(self, folder: Path) -> None:
        for path in folder.iterdir():
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink(missing_ok=True)


def of_environment(environ: Mapping[str, str]) -> Uploads:
    """Return the notes in this project's cache: LLM_ENDPOINT_CACHE, or where caches are kept."""
    home = environ.get("HOME")
    shared = environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else None)
    cache = environ.get("LLM_ENDPOINT_CACHE") or (f"{shared}/llm-endpoint" if shared else None)
    return Uploads(Path(cache) / "registry-uploads" if cache else None)
