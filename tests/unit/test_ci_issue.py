"""The one issue about drift: opened, edited, and closed once there is none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_github import FakeGitHub

from scripts.ci import issue, reports
from scripts.ci.issue import Found, judge
from scripts.ci.reports import DRIFTED, Report


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        yield fake


def run(github: FakeGitHub, folder: Path, stacks: list[str]) -> int:
    environment = {**github.environment, "STACKS": json.dumps(stacks)}
    return issue.main(["--checks", str(folder)], environment)


def test_drift_opens_an_issue_that_shows_what_would_change(github: FakeGitHub, tmp_path: Path):
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\n1 to update\n", DRIFTED))
    reports.write(tmp_path, Report("gke-ovms", "### gke-ovms\nall as it is\n", 0))
    assert run(github, tmp_path, ["cpu-vm", "gke-ovms"]) == 0
    (opened,) = github.issues
    assert opened["title"] == "Drift: cpu-vm"
    assert opened["body"].startswith(issue.MARKER)
    assert "1 to update" in opened["body"]
    assert "all as it is" not in opened["body"]


def test_an_open_issue_is_edited_in_place(github: FakeGitHub, tmp_path: Path):
    github.has_issue(f"{issue.MARKER}\nof eve", login="eve")
    github.has_issue(f"{issue.MARKER}\n", pull_request={})
    ours = github.has_issue(f"{issue.MARKER}\nof yesterday")
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\n", DRIFTED))
    assert run(github, tmp_path, ["cpu-vm", "gpu-vm"]) == 0
    assert github.writes == [("PATCH", f"/repos/octo/llm-endpoint/issues/{ours}")]
    assert "**Could not be checked:** `gpu-vm`" in github.issues[ours - 1]["body"]


def test_the_issue_is_closed_once_nothing_differs(github: FakeGitHub, tmp_path: Path):
    ours = github.has_issue(f"{issue.MARKER}\nof yesterday")
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\n", 0))
    assert run(github, tmp_path, ["cpu-vm"]) == 0
    assert github.issues[ours - 1]["state"] == "closed"
    assert "No stack differs any more" in github.comments[ours][0]["body"]


def test_without_drift_and_without_an_issue_nothing_is_written(github: FakeGitHub, tmp_path: Path):
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\n", 0))
    assert run(github, tmp_path, ["cpu-vm"]) == 0
    assert github.writes == []


def test_a_check_that_could_not_be_made_leaves_the_issue_open(github: FakeGitHub, tmp_path: Path):
    ours = github.has_issue(f"{issue.MARKER}\nof yesterday")
    assert run(github, tmp_path, ["cpu-vm"]) == 0
    assert github.issues[ours - 1]["state"] == "open"
    assert github.issues[ours - 1]["title"] == "The drift check fails: cpu-vm"


def test_a_stack_is_drifted_by_its_status_alone():
    found = {
        "a": Report("a", "", 0),
        "b": Report("b", "", DRIFTED),
        "c": Report("c", "", 1),
        "d": Report("d", "", None),
    }
    assert judge(found, ["b", "e"]) == Found(drifted=("b",), failed=("e", "c", "d"))
