"""The one comment of a pull request: written once, edited in place, never over its limit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_github import TOKEN, FakeGitHub

from scripts.ci import comment, reports
from scripts.ci.reports import Report


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        yield fake


def run(github: FakeGitHub, folder: Path, stacks: list[str], **more: str) -> int:
    variables = {"PULL_REQUEST": "5", "STACKS": json.dumps(stacks), "COMMIT": "c0ffee" * 7}
    environment = {**github.environment, **variables, **more}
    return comment.main(["--previews", str(folder)], environment)


def written(github: FakeGitHub) -> str:
    (only,) = [one for one in github.comments[5] if one["body"].startswith(comment.MARKER)]
    return only["body"]


def test_the_previews_of_all_stacks_become_one_comment(
    github: FakeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\n1 to create\n", 0))
    reports.write(tmp_path, Report("gke-ovms", "### gke-ovms\nnothing\n", 0))
    assert run(github, tmp_path, ["cpu-vm", "gke-ovms"]) == 0
    text = written(github)
    assert text.startswith(f"{comment.MARKER}\n## What this change would do")
    assert "For c0ffeec0ffee" in text
    assert "https://github.com/octo/llm-endpoint/actions/runs/77" in text
    assert text.index("### cpu-vm") < text.index("### gke-ovms")
    assert "Not fine" not in text
    assert "wrote comment" in capsys.readouterr().out


def test_the_comment_of_an_earlier_push_is_edited_in_place(github: FakeGitHub, tmp_path: Path):
    for at in range(120):
        github.has_comment(5, f"talk {at}", login="eve")
    github.has_comment(5, f"{comment.MARKER} not ours", login="eve")
    ours = github.has_comment(5, f"{comment.MARKER}\nof the last push")
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\nnew\n", 0))
    assert run(github, tmp_path, ["cpu-vm"]) == 0
    assert github.writes == [("PATCH", f"/repos/octo/llm-endpoint/issues/comments/{ours}")]
    assert "new" in next(one for one in github.comments[5] if one["id"] == ours)["body"]


def test_a_preview_that_failed_or_is_missing_is_named_at_the_top(
    github: FakeGitHub, tmp_path: Path
):
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\na policy refuses it\n", 1))
    assert run(github, tmp_path, ["cpu-vm", "gpu-vm"]) == 1, "what a branch's rules can require"
    text = written(github)
    assert "**Not fine:** `cpu-vm`, `gpu-vm`." in text.split("### cpu-vm")[0]
    assert "a policy refuses it" in text


def test_a_change_that_touches_no_stack_gets_no_comment(github: FakeGitHub, tmp_path: Path):
    assert run(github, tmp_path / "none", []) == 0
    assert github.writes == []


def test_a_change_that_touches_no_stack_any_more_says_so(github: FakeGitHub, tmp_path: Path):
    github.has_comment(5, f"{comment.MARKER}\n### cpu-vm")
    assert run(github, tmp_path / "none", []) == 0
    assert "It touches no stack." in written(github)


def test_previews_that_are_too_long_together_are_cut_and_accepted(
    github: FakeGitHub, tmp_path: Path
):
    for name in ("one", "two", "three"):
        reports.write(tmp_path, Report(name, f"### {name}\n" + "a line\n" * 9_000, 0))
    assert run(github, tmp_path, ["one", "two", "three"]) == 0
    assert written(github).count("*Cut here: [the run](") == 3


def test_links_and_strange_names_among_the_artifacts_are_passed_over(
    github: FakeGitHub, tmp_path: Path
):
    secret = tmp_path / "secret"
    secret.write_text("of the runner", encoding="utf-8")
    folder = tmp_path / "previews"
    folder.mkdir()
    (folder / "link.md").symlink_to(secret)
    (folder / "-x @eve.md").write_text("### hello\n", encoding="utf-8")
    (folder / "folder.md").mkdir()
    reports.write(folder, Report("cpu-vm", "### cpu-vm\n", 0))
    (folder / "cpu-vm.json").write_text('{"status": true}', encoding="utf-8")
    assert run(github, folder, ["cpu-vm"]) == 1
    text = written(github)
    assert "of the runner" not in text
    assert "hello" not in text
    assert "**Not fine:** `cpu-vm`" in text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PULL_REQUEST", ""),
        ("PULL_REQUEST", "5/../6"),
        ("STACKS", ""),
        ("STACKS", '["../x"]'),
        ("STACKS", '{"a": 1}'),
    ],
)
def test_a_variable_that_no_workflow_would_give_is_named(
    github: FakeGitHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
):
    assert run(github, tmp_path, [], **{variable: value}) == 2
    assert variable in capsys.readouterr().err
    assert github.asked == []


def test_a_token_that_may_not_write_is_told_what_it_needs(
    github: FakeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reports.write(tmp_path, Report("cpu-vm", "### cpu-vm\n", 0))
    github.faults = [403]
    assert run(github, tmp_path, ["cpu-vm"]) == 1
    said = capsys.readouterr().err
    assert "pull-requests: write" in said
    assert TOKEN not in said
