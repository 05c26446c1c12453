"""`python -m scripts.ci.issue`: the drift of all stacks as one issue, closed once there is none."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.ci import reports
from scripts.ci.github_api import GitHub, GitHubError, from_environment, number, own
from scripts.ci.joining import Part, join
from scripts.ci.reports import DRIFTED, Report, ReportError

MARKER = "<!-- llm-endpoint drift -->"
"""What the issue begins with: the next check finds it by that."""

_HELP = """\
The first is what `scripts/up` would do now: somebody changed the cloud by hand, or a deployment \
did not end well. To take the code's word: run the workflow `deploy` for that stack. To keep what \
is in the cloud: write it into the configuration, by a pull request."""


@dataclass(frozen=True)
class Found:
    """What the check came to: stacks that `drifted`, and those it `failed` to look at."""

    drifted: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def title(self) -> str:
        """The issue's title."""
        if not self.drifted:
            return f"The drift check fails: {', '.join(self.failed)}"
        return f"Drift: {', '.join(self.drifted)}"


def judge(found: Mapping[str, Report], stacks: Sequence[str]) -> Found:
    """Return which of `stacks`, and of those that were reported, drifted or failed."""
    names = [*dict.fromkeys([*stacks, *sorted(found)])]
    statuses = {name: found[name].status if name in found else None for name in names}
    return Found(
        tuple(name for name in names if statuses[name] == DRIFTED),
        tuple(name for name in names if statuses[name] not in (0, DRIFTED)),
    )


def body(found: Mapping[str, Report], judged: Found, run_url: str) -> str:
    """Return the issue's text, which fits one: of the stacks that are not as they should be."""
    lines = [MARKER]
    for what, names in (
        ("What would change", judged.drifted),
        ("Could not be checked", judged.failed),
    ):
        if names:
            lines.append(f"**{what}:** {', '.join(f'`{name}`' for name in names)}")
            lines.append("")
    lines.append(_HELP if judged.drifted else "The parts below say why.")
    told = [*judged.drifted, *judged.failed]
    parts = [Part(name, found[name].text if name in found else None) for name in told]
    return join("\n".join(lines), parts, run_url)


def post(github: GitHub, found: Mapping[str, Report], judged: Found, run_url: str) -> str:
    """Open, edit or close the one issue; return what was done. Raises `GitHubError`."""
    there = own(github.every("issues", state="open"), MARKER)
    if judged.drifted or judged.failed:
        told = {"title": judged.title, "body": body(found, judged, run_url)}
        if there is not None:
            at = number(there, "number")
            github.send("PATCH", f"issues/{at}", told)
            return f"edited issue #{at}"
        made = github.send("POST", "issues", told)
        return f"opened issue #{number(made, 'number')}"
    if there is None:
        return "no drift, and no issue to close"
    at = number(there, "number")
    where = f" ([the run]({run_url}))" if run_url else ""
    github.send("POST", f"issues/{at}/comments", {"body": f"No stack differs any more{where}."})
    github.send("PATCH", f"issues/{at}", {"state": "closed", "state_reason": "completed"})
    return f"closed issue #{at}"


def parse(arguments: Sequence[str]) -> Path:
    """Return the folder of the checks."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ci.issue",
        description="Write the drift of all stacks as one issue, or close it.",
        epilog="Environment: GH_TOKEN, GITHUB_REPOSITORY, STACKS (what scripts.ci.touched wrote).",
        allow_abbrev=False,
    )
    parser.add_argument("--checks", metavar="FOLDER", type=Path, required=True)
    return parser.parse_args(arguments).checks


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Write the issue; 1 where GitHub refuses, 2 where a variable lacks."""
    folder = parse(arguments)
    try:
        stacks = reports.expected(environment)
        found = reports.read(folder)
        judged = judge(found, stacks)
        done = post(from_environment(environment), found, judged, reports.run_url(environment))
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except GitHubError as error:
        print(f"error: {error}\nnext: the job needs `permissions: issues: write`", file=sys.stderr)
        return 1
    print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
