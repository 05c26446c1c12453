"""What the preview jobs run: files to hand on, the run's summary, and the right status."""

import stat
from pathlib import Path

import pytest

from scripts.bootstrap.places import Checkout
from scripts.ci import preview, reports, stacks
from scripts.ci.reports import DRIFTED, Report

FAKE = """#!/bin/sh
echo "$@" >> calls
echo "told on stdout"
while [ "$1" != --out ]; do stack=${stack:-$1}; shift; done
[ "$stack" = silent ] || printf '### %s\\n' "$stack" > "$2"
case $stack in refused) exit 1 ;; drifted) exit 3 ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    root = tmp_path / "check out"
    script = root / "scripts" / "preview"
    script.parent.mkdir(parents=True)
    script.write_text(FAKE, encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    found = Checkout(root)
    monkeypatch.setattr(preview, "this_checkout", lambda: found)
    return found


def run(checkout: Checkout, *arguments: str) -> tuple[int, dict[str, Report], str]:
    out, summary = checkout.root / "out", checkout.root / "summary"
    words = [*arguments, "--out", str(out)]
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_STEP_SUMMARY": str(summary)}
    status = preview.main(words, environment)
    return status, reports.read(out), summary.read_text(encoding="utf-8")


def calls(checkout: Checkout) -> list[str]:
    lines = (checkout.root / "calls").read_text(encoding="utf-8").splitlines()
    return [" ".join(word for word in line.split() if "/" not in word) for line in lines]


def test_a_preview_is_handed_on_and_shown_in_the_summary(checkout: Checkout):
    status, found, summary = run(checkout, "cpu-vm", "--base", "HEAD^1")
    assert status == 0
    assert found == {"cpu-vm": Report("cpu-vm", "### cpu-vm\n", 0)}
    assert summary == "### cpu-vm\n\n"
    assert calls(checkout) == ["cpu-vm --out --base HEAD^1"]


def test_a_preview_that_is_refused_fails_the_job_and_is_handed_on(checkout: Checkout):
    status, found, _ = run(checkout, "refused", "cpu-vm", "--mocked")
    assert status == 1
    assert found["refused"] == Report("refused", "### refused\n", 1)
    assert found["cpu-vm"].status == 0
    assert calls(checkout) == ["refused --out --mocked", "cpu-vm --out --mocked"]


def test_a_preview_that_says_nothing_is_no_success(checkout: Checkout):
    status, found, summary = run(checkout, "silent")
    assert status == 1
    assert found["silent"].status == 1
    assert "its job's log says why" in summary


def test_drift_is_told_by_the_report_and_fails_nothing(checkout: Checkout):
    status, found, _ = run(checkout, "drifted", "--drift")
    assert status == 0
    assert found["drifted"].status == DRIFTED
    assert calls(checkout) == ["drifted --out --expect-no-changes --no-policy"]


def test_what_is_touched_is_asked_of_the_change(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
):
    def touched(where: Checkout, purpose: stacks.Purpose, base: str | None) -> tuple[str, ...]:
        assert (where, purpose, base) == (checkout, stacks.Purpose.PREVIEW, "HEAD^1")
        return ()

    monkeypatch.setattr(preview.touched, "touched", touched)
    status, found, summary = run(checkout, "--touched", "--base", "HEAD^1", "--mocked")
    assert (status, found) == (0, {})
    assert summary == "The change touches no stack.\n\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--touched"],
        ["cpu-vm", "--touched", "--base", "HEAD^1"],
        ["cpu-vm", "--drift", "--mocked"],
        ["cpu-vm", "--drift", "--base", "HEAD^1"],
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str]):
    with pytest.raises(SystemExit) as refused:
        preview.parse([*arguments, "--out", "out"])
    assert refused.value.code == 2
