"""scripts/test: what it runs, in which order, and when it stops."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from scripts.bootstrap import checks, go_tools, virtual_environment
from scripts.bootstrap.places import Checkout, this_checkout


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; the one named `fails` ends with status 3."""
    commands: list[list[str]] = []

    def run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> int:
        assert not any(name.startswith("PULUMI_") for name in variables)
        commands.append([*command])
        return 3 if variables.get("FAILS") == Path(command[0]).name else 0

    monkeypatch.setattr(checks, "run_live", run)
    monkeypatch.setattr(virtual_environment, "ensure", lambda *_: Path("/venv/bin/python"))
    monkeypatch.setattr(go_tools, "ensure", lambda *_: Path("/cache/actionlint"))
    return commands


def run(*arguments: str, **environment: str) -> int:
    variables = {"PATH": "/bin", "PULUMI_ACCESS_TOKEN": "x", **environment}
    return checks.run_checks(this_checkout(), arguments, variables)


def names(ran: list[list[str]]) -> list[str]:
    return [Path(command[0]).name for command in ran]


def test_linters_run_before_tests_and_the_workflows_are_among_what_they_read(
    ran: list[list[str]],
):
    assert run() == 0
    expected = ["ruff", "ruff", "shellcheck", "actionlint", "zizmor", "pyright", "python"]
    assert names(ran) == expected
    assert ran[4][-1] == checks.WORKFLOWS
    assert "--offline" in ran[4]
    assert ran[-1][1:5] == ["-m", "pytest", "-m", "not real and not cloud"]


def test_the_first_that_fails_ends_it(ran: list[list[str]]):
    assert run(FAILS="zizmor") == 3
    assert names(ran)[-1] == "zizmor"


def test_real_runs_the_real_tests_alone(ran: list[list[str]]):
    assert run("--real", "-k", "gke") == 0
    (only,) = ran
    assert only[3:5] == ["-m", "real"]
    assert only[-2:] == ["-k", "gke"]


def test_the_inventory_is_renewed_without_a_test(ran: list[list[str]]):
    assert run("--update-inventory", "cpu-vm") == 0
    assert [command[1:] for command in ran] == [["-m", "scripts.inventory", "--update", "cpu-vm"]]


def test_every_shell_script_is_linted():
    found = checks.shell_scripts(Checkout(this_checkout().root))
    assert {"scripts/up", "scripts/launcher", ".ci/run"} <= {*found}
    assert not any(name.endswith(".py") for name in found)
