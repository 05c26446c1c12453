"""What GitHub is told of a `ci` stack, as the commands that tell it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Github:
    """A repository of GitHub, `OWNER/REPO`, and what its workflows have to know.

    `variables` are its Actions variables: none is a secret. Jobs that deploy run in `environment`,
    on `branch` alone.
    """

    repository: str
    environment: str
    branch: str
    variables: Mapping[str, str]


def commands(github: Github) -> tuple[list[str], list[str]]:
    """Return what sets the variables, and what makes the environment that somebody approves."""
    repository = shlex.quote(github.repository)
    variables = [
        f"gh variable set {name} --repo {repository} --body {shlex.quote(value)}"
        for name, value in github.variables.items()
    ]
    place = shlex.quote(f"repos/{github.repository}/environments/{github.environment}")
    environment = [
        f"gh api --method PUT {place} -F 'reviewers[][type]=User' "
        '-F "reviewers[][id]=$(gh api user --jq .id)" '
        "-F 'deployment_branch_policy[protected_branches]=false' "
        "-F 'deployment_branch_policy[custom_branch_policies]=true'",
        f"gh api --method POST {place}/deployment-branch-policies -f "
        f"{shlex.quote(f'name={github.branch}')}",
    ]
    return variables, environment


def lines(github: Github) -> list[str]:
    """Return what `scripts/up` says of it."""
    variables, environment = commands(github)
    return [
        f"  To tell {github.repository} of it, once, after `gh auth login`:",
        "",
        *(f"  {command}" for command in variables),
        "",
        f"  (Of a second such stack, as a test project has: each with --env {github.environment}.)",
        "",
        f"  To have somebody approve what deploys, here you, and only from {github.branch}:",
        "",
        *(f"  {command}" for command in environment),
        "",
    ]
