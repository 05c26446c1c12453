"""`python -m scripts.ci.comment`: the previews of a pull request as its one comment.

It needs a token that may write to pull requests, and runs nothing of the pull request's own: what
the previews handed on is text.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.ci import reports
from scripts.ci.github_api import GitHub, GitHubError, from_environment, number, own
from scripts.ci.joining import join, parts_of
from scripts.ci.reports import Report, ReportError

MARKER = "<!-- llm-endpoint previews -->"
"""What the comment begins with: the next run finds it by that."""


def not_fine(found: Mapping[str, Report], stacks: Sequence[str]) -> list[str]:
    """Return the stacks whose preview failed, or handed on nothing."""
    names = dict.fromkeys([*stacks, *sorted(found)])
    return [name for name in names if name not in found or found[name].status != 0]


def body(found: Mapping[str, Report], stacks: Sequence[str], commit: str, run_url: str) -> str:
    """Return the comment's text, which fits one."""
    parts = parts_of({name: report.text for name, report in found.items()}, stacks)
    failed = not_fine(found, stacks)
    by = f"[this run]({run_url})" if run_url else "scripts/preview"
    lines = [MARKER, "## What this change would do", "", f"For {commit[:12]}, told by {by}."]
    if not parts:
        lines.append("It touches no stack.")
    if failed:
        names = ", ".join(f"`{name}`" for name in failed)
        lines += ["", f"**Not fine:** {names}. The part below says why."]
    return join("\n".join(lines), parts, run_url)


def post(github: GitHub, pull_request: int, text: str, *, silent: bool) -> str:
    """Write `text` as the one comment; return what was done. Raises `GitHubError`.

    A comment that is there is edited in place. With `silent` there is no new one.
    """
    comments = f"issues/{pull_request}/comments"
    there = own(github.every(comments), MARKER)
    if there is not None:
        at = number(there, "id")
        github.send("PATCH", f"issues/comments/{at}", {"body": text})
        return f"edited comment {at}"
    if silent:
        return "wrote no comment: no stack is touched"
    made = github.send("POST", comments, {"body": text})
    return f"wrote comment {number(made, 'id')}"


def parse(arguments: Sequence[str]) -> Path:
    """Return the folder of the previews."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ci.comment",
        description="Write the previews of a pull request as its one comment.",
        epilog="Environment: GH_TOKEN, GITHUB_REPOSITORY, PULL_REQUEST (its number), COMMIT, "
        "STACKS (what scripts.ci.touched wrote).",
        allow_abbrev=False,
    )
    parser.add_argument("--previews", metavar="FOLDER", type=Path, required=True)
    return parser.parse_args(arguments).previews


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Write the comment; 1 where a preview failed or GitHub refuses, 2 where a variable lacks."""
    folder = parse(arguments)
    named = environment.get("PULL_REQUEST", "")
    if not re.fullmatch(r"[1-9][0-9]{0,9}", named):
        print(f"error: PULL_REQUEST is {named!r}, which is no number", file=sys.stderr)
        return 2
    try:
        stacks = reports.expected(environment)
        found = reports.read(folder)
        commit = environment.get("COMMIT", "")
        text = body(found, stacks, commit, reports.run_url(environment))
        github = from_environment(environment)
        done = post(github, int(named), text, silent=not stacks and not found)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except GitHubError as error:
        print(
            f"error: {error}\nnext: the job needs `permissions: pull-requests: write`",
            file=sys.stderr,
        )
        return 1
    print(f"#{named}: {done}")
    failed = not_fine(found, stacks)
    if failed:
        print(f"error: not fine: {', '.join(failed)}; the comment says why", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
