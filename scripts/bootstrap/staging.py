"""Folders that are there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(target: Path) -> Generator[Path]:
    """Yield a new folder beside `target` that becomes `target` when the block ends well.

    One process at a time: what an earlier one left unfinished is removed.
    """
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(target)
