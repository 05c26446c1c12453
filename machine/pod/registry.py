"""`python -m machine.pod.registry`: a server's models of a registry, before the server is started.

An init container as `machine.pod.model` is, for models that a registry has. Where all is there, no
network is needed.

    <volume>/.packages/<digest>              what is imported, by the digest of its lock
    <volume>/registry/<name>/<version>       a version of a model, whole
    <volume>/served/<server>                 a link to a model's folder; for GGUF, a folder of links
    <volume>/served/<server>/<name>/<version>   for classic models, a link to each
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from machine.pod import packages
from machine.pod.ending import DONE, fail, run_stage, stop_on_sigterm
from machine.pod.model import STAGE, have_packages
from machine.pod.registry_wanted import MODEL_VARIABLE, REGISTRY_VARIABLE, Wanted, parse
from machine.pod.told import Told, to_log
from machine.table import WrongError


def have_models(
    wanted: Wanted,
    environment: Mapping[str, str],
    volume: Path,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> str:
    """Have the models on `volume` where their server looks for them. Raises `StageError`."""
    # It imports the packages, which were not there when this process began.
    from machine.pod.registry_placing import place_with_patience

    return place_with_patience(wanted, environment, volume, say, sleep)


def run(
    environment: Mapping[str, str],
    lock: Path,
    volume: Path,
    told: Told,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run both stages, and return the exit status."""
    texts = [environment.get(name) for name in (MODEL_VARIABLE, REGISTRY_VARIABLE)]
    if texts[0] is None or texts[1] is None:
        missing = MODEL_VARIABLE if texts[0] is None else REGISTRY_VARIABLE
        return fail(STAGE, f"{missing} is not set: it says which models are served", told)
    try:
        wanted = parse(texts[0], texts[1])
    except WrongError as error:
        return fail(STAGE, f"{error}\nnext: pulumi up writes it", told)
    ended = run_stage(packages.STAGE, lambda say: have_packages(lock, volume, say, sleep), told)
    if ended != DONE:
        return ended
    return run_stage(STAGE, lambda say: have_models(wanted, environment, volume, say, sleep), told)


def main(arguments: Sequence[str]) -> int:
    """Have the models, and return the exit status."""
    parser = argparse.ArgumentParser(prog="machine.pod.registry", description=__doc__)
    parser.add_argument(
        "--lock",
        type=Path,
        default=Path("/opt/llm-endpoint/requirements/registry.txt"),
        help="the hashed lock of what reads a registry",
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
