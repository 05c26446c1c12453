"""A pull request without credentials, as the workflows take it: from two commits to the comment.

What the jobs run is run here, in a repository of its own, with a stand-in for GitHub's API.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import checkout as checkouts
import pytest
from checkout import Checkout, Done
from fake_github import FakeGitHub

from scripts.ci.comment import MARKER

pytestmark = pytest.mark.real

DEFAULTS = "stacks/local.yaml"
BASE = ("--base", "HEAD^1")


def git(made: Checkout, *words: str) -> str:
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return made.good("git", *author, *words).stdout.strip()


def module(made: Checkout, name: str, *arguments: str, **environment: str) -> Done:
    return made.run(sys.executable, "-S", "-m", name, *arguments, **environment)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The merge of a pull request that raises a default of `local`, as GitHub checks it out."""
    made = checkouts.make(tmp_path_factory.mktemp("pull-request"))
    git(made, "init", "--quiet", "--initial-branch", "main")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "-m", "what is on main")
    git(made, "switch", "--quiet", "-c", "a-change")
    defaults = made.root / DEFAULTS
    defaults.write_text(defaults.read_text(encoding="utf-8") + "slots: 7\n", encoding="utf-8")
    git(made, "commit", "--quiet", "--all", "-m", "seven slots")
    git(made, "switch", "--quiet", "--detach", "main")
    git(made, "merge", "--quiet", "--no-ff", "-m", "the merge", "a-change")
    return made


@pytest.fixture(scope="module")
def previews(checkout: Checkout) -> Path:
    """The folder of what the job without credentials hands on, after it ended well."""
    words = ("--touched", *BASE, "--mocked", "--out", "previews")
    done = module(checkout, "scripts.ci.preview", *words)
    assert done.status == 0, done.text
    return checkout.root / "previews"


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        yield fake


def test_the_change_touches_the_one_stack(checkout: Checkout):
    done = module(checkout, "scripts.ci.touched", "--for", "preview", *BASE)
    assert json.loads(done.stdout) == ["local"]


def test_the_preview_shows_what_the_change_does_and_that_it_is_mocked(previews: Path):
    (text,) = [file.read_text(encoding="utf-8") for file in previews.glob("*.md")]
    assert "### local · mocked" in text
    assert '-  "4",\n+  "7",\n' in text


def test_the_comment_is_written_once_and_then_edited(
    checkout: Checkout, previews: Path, github: FakeGitHub
):
    variables = {**github.environment, "PULL_REQUEST": "5", "STACKS": '["local"]'}
    for commit in ("1" * 40, "2" * 40):
        words = ("--previews", str(previews))
        done = module(checkout, "scripts.ci.comment", *words, **variables, COMMIT=commit)
        assert done.status == 0, done.text
    (written,) = github.comments[5]
    assert written["body"].startswith(MARKER)
    assert "For 222222222222" in written["body"]
    assert "### local · mocked" in written["body"]
    assert "Not fine" not in written["body"]


def test_nothing_of_the_base_is_left_in_the_checkout(checkout: Checkout, previews: Path):
    assert git(checkout, "worktree", "list").count("\n") == 0
    changed = git(checkout, "status", "--porcelain")
    assert changed == "?? previews/"
