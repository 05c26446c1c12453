"""What the jobs of a matrix hand on, a stack each: `STACK.md` and, beside it, `STACK.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.ci.joining import NAME

MOST_BYTES = 1_000_000
"""Of one file. What a pull request's own code has written is read here."""
DRIFTED = 3
"""How scripts/preview ends with `--expect-no-changes` where there are changes."""


class ReportError(Exception):
    """What was handed on, or expected, can't be read."""


@dataclass(frozen=True)
class Report:
    """The Markdown about one stack, and the `status` with which its preview ended.

    It is None where that is not known.
    """

    stack: str
    text: str
    status: int | None


def write(folder: Path, report: Report) -> None:
    """Write the report's two files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    _file(folder, report.stack, "md").write_text(report.text, encoding="utf-8")
    about = json.dumps({"stack": report.stack, "status": report.status}) + "\n"
    _file(folder, report.stack, "json").write_text(about, encoding="utf-8")


def read(folder: Path) -> dict[str, Report]:
    """Return the reports in `folder`, by stack; none where there is no such folder.

    Links, other files and names that no stack has are passed over.
    """
    found: dict[str, Report] = {}
    for path in sorted(folder.glob("*.md")):
        if path.is_symlink() or not path.is_file() or not NAME.fullmatch(path.stem):
            continue
        text = _text(path)
        found[path.stem] = Report(path.stem, text, _status(folder, path.stem))
    return found


def expected(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the stacks of the matrix, from the JSON list in `$STACKS`. Raises `ReportError`."""
    words = environment.get("STACKS", "")
    try:
        named: object = json.loads(words)
    except ValueError:
        named = None
    names = cast("list[object]", named) if isinstance(named, list) else [None]
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise ReportError(
            f"STACKS is {words[:100]!r}, and takes a JSON list of stacks' names: hand on what "
            "python -m scripts.ci.touched wrote"
        )
    return tuple(map(str, names))


def run_url(environment: Mapping[str, str]) -> str:
    """Return the address of this run of the workflow, or "" outside of one."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (environment.get(name, "") for name in names)
    return f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""


def _file(folder: Path, stack: str, ending: str) -> Path:
    return folder / f"{stack}.{ending}"


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MOST_BYTES).decode("utf-8", "replace")


def _status(folder: Path, stack: str) -> int | None:
    path = _file(folder, stack, "json")
    if path.is_symlink() or not path.is_file():
        return None
    try:
        about: object = json.loads(_text(path))
    except ValueError:
        return None
    status = cast("Mapping[str, object]", about).get("status") if isinstance(about, dict) else None
    return status if isinstance(status, int) and not isinstance(status, bool) else None
