"""`python -m machine.pod.model`: a server's model on its volume, before the server is started.

An init container, so that Kubernetes starts it again where it ends, and goes on to the server once
it is through. It begins with the standard library alone, and installs what the downloader imports
on the same volume. Where all is there, no network is needed.

    <volume>/.packages/<digest>      what is imported, by the digest of its lock
    <volume>/store                   the cache of models (scripts.models.store)
    <volume>/served/<server>         a link to a model's folder; for GGUF, a folder of links
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from machine.commands import runner
from machine.errors import Permanent
from machine.pod import packages
from machine.pod.ending import DONE, fail, run_stage, stop_on_sigterm
from machine.pod.told import Told, to_log
from machine.pod.wanted import VARIABLE, Wanted, parse
from machine.table import WrongError

STAGE = "model"
_PACKAGES = ".packages"


def have_packages(
    lock: Path, volume: Path, say: Callable[[str], None], sleep: Callable[[float], None]
) -> str:
    """Have what the downloader imports on `volume`, and importable. Raises `StageError`."""
    folder = packages_folder(lock, volume)
    message = packages.ensure_with_patience(lock, folder, say, runner(say), sleep=sleep)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    for other in folder.parent.iterdir():
        if other != folder:
            with suppress(OSError):
                shutil.rmtree(other)
    return message


def packages_folder(lock: Path, volume: Path) -> Path:
    """Return where the packages of `lock` lie on `volume`. Raises `Permanent`."""
    try:
        stamp = packages.stamp_of(lock.read_bytes())
    except OSError as error:
        raise Permanent(f"{lock} can't be read: {error.strerror}") from None
    return volume / _PACKAGES / stamp[:16]


def have_model(
    wanted: Wanted, volume: Path, say: Callable[[str], None], sleep: Callable[[float], None]
) -> str:
    """Have the model on `volume` where its server looks for it. Raises `StageError`."""
    # It imports the packages, which were not there when this process began.
    from machine.pod.placing import place_with_patience

    return place_with_patience(wanted, volume, say, sleep)


def run(
    environment: Mapping[str, str],
    lock: Path,
    volume: Path,
    told: Told,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run both stages, and return the exit status."""
    text = environment.get(VARIABLE)
    if text is None:
        return fail(STAGE, f"{VARIABLE} is not set: it says which model is served", told)
    try:
        wanted = parse(text)
    except WrongError as error:
        return fail(STAGE, f"{VARIABLE}: {error}\nnext: pulumi up writes it", told)
    ended = run_stage(packages.STAGE, lambda say: have_packages(lock, volume, say, sleep), told)
    if ended != DONE:
        return ended
    return run_stage(STAGE, lambda say: have_model(wanted, volume, say, sleep), told)


def main(arguments: Sequence[str]) -> int:
    """Have the model, and return the exit status."""
    parser = argparse.ArgumentParser(prog="machine.pod.model", description=__doc__)
    parser.add_argument(
        "--lock",
        type=Path,
        default=Path("/opt/llm-endpoint/requirements/machine.txt"),
        help="the hashed lock of what the downloader imports",
    )
    parser.add_argument(
        "--volume", type=Path, default=Path("/models"), help="where the volume is mounted"
    )
    options = parser.parse_args(arguments)
    # The server runs as another container of the same user, and only reads.
    os.umask(0o022)
    stop_on_sigterm()
    return run(os.environ, options.lock, options.volume, Told(to_log))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
