"""`python -m scripts.ci.preview`: previews as files to hand on, and in the run's summary.

python -m scripts.ci.preview cpu-vm --base HEAD^1 --out previews
python -m scripts.ci.preview --touched --base HEAD^1 --mocked --out previews
python -m scripts.ci.preview cpu-vm --drift --out checks
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bootstrap.places import Checkout, this_checkout
from scripts.ci import reports, touched
from scripts.ci.joining import cut
from scripts.ci.reports import DRIFTED, Report
from scripts.ci.stacks import Purpose

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_SUMMARY_CHARACTERS = 240_000
"""GitHub takes 1 MiB a step; a character is four bytes at most."""


@dataclass(frozen=True)
class Asked:
    """Which previews are wanted. `stacks` is None for those that the change since `base` touches.

    `drift` asks whether an `up` of what is checked out would change anything.
    """

    stacks: tuple[str, ...] | None
    base: str | None
    mocked: bool
    drift: bool
    out: Path


def command(checkout: Checkout, asked: Asked, stack: str, file: Path) -> list[str]:
    """Return the command line of scripts/preview for one stack, which writes `file`."""
    words = [str(checkout.root / "scripts" / "preview"), stack, "--out", str(file)]
    if asked.base is not None:
        words += ["--base", asked.base]
    if asked.mocked:
        words.append("--mocked")
    if asked.drift:
        # What the policy refuses was refused before it was deployed.
        words += ["--expect-no-changes", "--no-policy"]
    return words


def run(checkout: Checkout, asked: Asked, stack: str, environment: Mapping[str, str]) -> Report:
    """Run one preview, its messages on stderr, and return what came of it."""
    with tempfile.TemporaryDirectory(prefix="llm-endpoint-preview-") as folder:
        file = Path(folder) / "preview.md"
        words = command(checkout, asked, stack, file)
        done = subprocess.run(
            words, cwd=checkout.root, env=dict(environment), stdout=sys.stderr, check=False
        )
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    status = done.returncode
    if not text.strip():
        # A preview that said nothing has told nobody anything, whatever its status.
        status = status or 1
        text = f"### {stack}\n\nThe preview ended with status {status}: its job's log says why.\n"
    return Report(stack, text, status)


def parse(arguments: Sequence[str]) -> Asked:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ci.preview",
        description="Preview stacks; hand on the Markdown, and show it in the run's summary.",
        allow_abbrev=False,
    )
    parser.add_argument("stacks", metavar="STACK", nargs="*")
    parser.add_argument("--touched", action="store_true", help="the stacks of the change")
    parser.add_argument("--base", metavar="REF", help="what the change is compared with")
    parser.add_argument("--mocked", action="store_true", help="without credentials and plugins")
    parser.add_argument("--drift", action="store_true", help="expect no change at all")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.touched == bool(given.stacks):
        parser.error("name stacks, or give --touched")
    if given.touched and given.base is None:
        parser.error("--touched needs --base")
    if given.drift and (given.mocked or given.base is not None):
        parser.error("--drift takes neither --mocked nor --base")
    stacks = None if given.touched else tuple(given.stacks)
    return Asked(stacks, given.base, given.mocked, given.drift, given.out)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the previews; the first status that is not 0. Drift that was found is no failure."""
    asked = parse(arguments)
    checkout = this_checkout()
    stacks = asked.stacks
    if stacks is None:
        stacks = touched.touched(checkout, Purpose.PREVIEW, asked.base)
    worst = 0
    for stack in stacks:
        report = run(checkout, asked, stack, environment)
        reports.write(asked.out, report)
        _summarize(report.text, environment)
        drifted = asked.drift and report.status == DRIFTED
        worst = worst or (0 if drifted else report.status or 0)
    if not stacks:
        _summarize("The change touches no stack.\n", environment)
    return worst


def _summarize(text: str, environment: Mapping[str, str]) -> None:
    """Add `text` to the run's summary; outside of a workflow print it."""
    file = environment.get(SUMMARY_VARIABLE)
    if not file:
        print(text)
        return
    fits = cut(text, MOST_SUMMARY_CHARACTERS, "\n*Cut here: the run's artifact has the whole.*\n")
    with Path(file).open("a", encoding="utf-8") as summary:
        summary.write(f"{fits}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
