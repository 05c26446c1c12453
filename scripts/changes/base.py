"""Another commit of this project, unpacked beside it and run with its own code."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.changes.snapshot import Snapshot
from scripts.changes.snapshot import read as read_snapshot
from scripts.stack_file import file_of
from stacks import HERE

ROOT = HERE.parent
SALT = "LLM_ENDPOINT_SNAPSHOT_SALT"
"""Under it the digests of secrets in two snapshots can be compared, and guessed by nobody else."""
_SECONDS = 300.0
_MANIFEST = ".rendered-files"


class BaseError(Exception):
    """Why the other commit can't be looked at; the message says what to do."""


@dataclass(frozen=True)
class Base:
    """The commit `ref`, unpacked in the folder `root`; `python` is the one to run it with."""

    ref: str
    root: Path
    python: Path

    def snapshot(self, stack: str, salt: str) -> Snapshot:
        """Return its mocked run of `stack`. Raises `BaseError`."""
        said = self._run(["scripts.changes", "snapshot", stack], {SALT: salt})
        try:
            return read_snapshot(said)
        except ValueError as error:
            raise BaseError(f"{self.ref} tells of its resources otherwise: {error}") from None

    def files(self, stack: str) -> Mapping[str, str]:
        """Return what it renders for `stack`, path -> text. Raises `BaseError`."""
        with tempfile.TemporaryDirectory(prefix="llm-endpoint-") as folder:
            out = Path(folder) / "files"
            self._run(["scripts.render", stack, "--out", str(out)], {})
            return {
                str(file.relative_to(out)): file.read_text(encoding="utf-8", errors="replace")
                for file in sorted(out.rglob("*"))
                if file.is_file() and file.name != _MANIFEST
            }

    def _run(self, module: Sequence[str], variables: Mapping[str, str]) -> str:
        try:
            done = subprocess.run(
                [str(self.python), "-m", *module],
                cwd=self.root,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BaseError(f"{self.ref} took over {_SECONDS:.0f} s to be run") from None
        if done.returncode != 0:
            if f"No module named {module[0]}" in done.stderr:
                raise BaseError(f"{self.ref} is older than `python -m {module[0]}`")
            raise BaseError(f"the code of {self.ref} can't be run for it: {_last(done.stderr)}")
        return done.stdout


@contextmanager
def unpacked(ref: str, stack: str) -> Generator[Base]:
    """Give the commit that `ref` names, for the time of the context. Raises `BaseError`.

    A stack's file that git does not track lies in no commit: it is the same on both sides then.
    """
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if not commit:
        raise BaseError(
            f"{ref} names no commit here: fetch it (git fetch origin {ref}), or name another one"
        )
    name = commit.decode().strip()
    with tempfile.TemporaryDirectory(prefix="llm-endpoint-base-") as folder:
        root = Path(folder).resolve() / "checkout"
        files = _git("archive", "--format=tar", name)
        if not files:
            raise BaseError(
                f"git can't unpack {ref}: fetch it whole (git fetch origin {ref}), without --filter"
            )
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(root, filter="data")
        own = file_of(stack, HERE)
        if own.exists() and not _git("ls-files", "--", str(own.relative_to(ROOT))):
            shutil.copy2(own, root / own.relative_to(ROOT))
        yield Base(ref, root, _python(root))


def _python(root: Path) -> Path:
    """Return this environment's Python as one of the checkout in `root`, as it is one of this."""
    environment = Path(sys.prefix)
    if not environment.is_relative_to(ROOT):
        return Path(sys.executable)
    link = root / environment.relative_to(ROOT)
    link.symlink_to(environment, target_is_directory=True)
    return link / "bin" / "python"


def _git(*words: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise BaseError(f"git can't be started ({error.strerror}): install it") from None
    return done.stdout if done.returncode == 0 else b""


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
