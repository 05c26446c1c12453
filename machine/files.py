"""Files that other processes read: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Put `text` at `path` so that no reader sees a part of it, or a file with another mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def systemd_quoted(value: str) -> str:
    """Return `value` as a word of a systemd EnvironmentFile (systemd.exec(5))."""
    for character in ("\\", '"', "$", "`"):
        value = value.replace(character, f"\\{character}")
    return f'"{value}"'
