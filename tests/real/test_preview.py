"""scripts/preview on the real engine: the local stack, from before it is there to one that changes.

The tests run in order on one checkout: each starts from what the one before it left.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import checkout as checkouts
import pytest
from checkout import Checkout

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = checkouts.make(tmp_path_factory.mktemp("preview"))
    for words in (
        ("init", "--quiet"),
        ("add", "--all"),
        ("commit", "--quiet", "--message", "base"),
    ):
        made.good(*GIT, *words)
    yield made
    for left in made.servers():
        left.kill()


@pytest.fixture(scope="module")
def up(here: Checkout) -> Checkout:
    here.good("scripts/up", HF_ENDPOINT="http://127.0.0.1:9")
    return here


def states(here: Checkout) -> dict[str, str]:
    """Return what no preview may change: the stack's state and its configuration, as digests."""
    kept = [*(here.root / ".state" / "backend").rglob("*"), *here.root.glob("stacks/Pulumi.*")]
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in kept if file.is_file()
    }


def preview(here: Checkout, *words: str, status: int = 0) -> str:
    before = states(here)
    done = here.run("scripts/preview", "local", *words)
    assert done.status == status, done.text
    assert states(here) == before
    return done.stdout


def test_a_stack_that_is_not_there_is_mocked_without_making_it(here: Checkout):
    text = preview(here, "--base", "HEAD")
    assert text.startswith("<!-- llm-endpoint preview local -->\n### local · mocked\n")
    assert "has no stack local yet" in text
    # The same code on both sides: what it registers depends on no place and no moment.
    assert "**Nothing to change.** 8 stay as they are." in text
    assert "8 to create" in preview(here)
    assert not (here.root / ".state" / "backend" / ".pulumi").exists()


def test_nothing_changes_after_an_up(up: Checkout):
    text = preview(up, "--expect-no-changes")
    assert "### local\n" in text
    assert "**Nothing to change.**" in text
    assert "`billing`: nothing of it bills." in text


def test_a_changed_setting_shows_what_it_replaces_and_why(up: Checkout):
    up.configure("slots", "2")
    text = preview(up, "--expect-no-changes", status=3)
    (row,) = [
        line for line in text.splitlines() if line.startswith("| **replace** | `local-server`")
    ]
    assert "**`triggers" in row
    assert "`environment.LLM_ENDPOINT_LAUNCH`" in row
    assert '   "--parallel",\n-  "4",\n+  "2",\n' in text


def test_a_policy_that_is_violated_is_told_and_ends_with_1(up: Checkout):
    # The program itself refuses what this rule does: the rule asks for another flag here.
    rule = up.root / "policy" / "rules" / "listeners.py"
    kept = rule.read_text(encoding="utf-8")
    changed = kept.replace('"--api-key-file"', '"--another-flag"')
    assert changed != kept
    try:
        rule.write_text(changed, encoding="utf-8")
        text = preview(up, status=1)
        preview(up, "--no-policy")
    finally:
        rule.write_text(kept, encoding="utf-8")
    assert "**The policy pack refuses this" in text
    assert re.search(r"^\| \*\*mandatory\*\* \| `[\w-]+` \| `local-server` \|", text, re.MULTILINE)


def test_a_key_that_is_added_is_created_and_no_key_is_shown(up: Checkout):
    up.configure("keys", "default@2 alice")
    text = preview(up, "--no-policy")
    assert "| create | `local-key-alice` |" in text
    assert "! environment.LLM_ENDPOINT_KEYS\n  [secret], another one\n" in text
    key = up.outputs()["api_key"]
    assert isinstance(key, str)
    assert key not in text
    up.forget("keys")


def test_a_configuration_that_is_refused_is_shown_with_its_cause(up: Checkout, tmp_path: Path):
    up.configure("slots", "many")
    out = tmp_path / "preview.md"
    assert preview(up, "--no-policy", "--out", str(out), status=1) == ""
    text = out.read_text(encoding="utf-8")
    up.configure("slots", "2")
    assert "**The preview failed: what follows may not be all.**" in text
    assert "llm-endpoint:slots" in text


def test_a_mocked_preview_compares_with_a_commit(up: Checkout):
    stack = up.root / "stacks" / "local.yaml"
    stack.write_text(stack.read_text(encoding="utf-8") + "verify_streams: 2\n", encoding="utf-8")
    try:
        text = preview(up, "--mocked", "--base", "HEAD")
    finally:
        up.good(*GIT, "checkout", "--", "stacks/local.yaml")
    assert "Compared with the same run of HEAD." in text
    assert "`local-verification`" in text
    assert "to create" not in text


def test_a_commit_that_is_not_there_is_one_clear_message(up: Checkout):
    refused = up.run("scripts/preview", "local", "--mocked", "--base", "no-such-commit")
    assert refused.status == 1
    assert "no-such-commit names no commit here" in refused.stderr
    assert "Traceback" not in refused.text
