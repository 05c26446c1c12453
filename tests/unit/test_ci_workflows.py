"""The workflows: least rights, pinned actions, and commands that are there and parse."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.bootstrap import previews, stack
from scripts.bootstrap.checks import WORKFLOWS
from scripts.bootstrap.places import this_checkout
from scripts.ci import preview as ci_preview
from scripts.ci import sweep as ci_sweep

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / WORKFLOWS
NAMES = sorted(path.name for path in FOLDER.glob("*.yml"))
ACTIONS = tomllib.loads(Path(__file__).with_name("workflow_actions.toml").read_text("utf-8"))
OPTIONAL = {"LLM_ENDPOINT_RUNNER"}

SAMPLES = {
    "STACK": "cpu-vm",
    "BEFORE": "0" * 40,
    "ONLY": "",
    "RUNNER_TEMP": "/runner/_temp",
}
"""Values of the variables that a `run:` has in it."""
OF_THE_RUNNER = {"RUNNER_TEMP"}

PULUMI_UP = {"--suppress-permalink", "--expect-no-changes"}
PULUMI_DESTROY = {"--suppress-permalink"}
"""Options of `pulumi up` and `pulumi destroy` (their --help, 3.210)."""


@dataclass(frozen=True)
class Job:
    """A job of a workflow; `key` is its name there."""

    workflow: str
    key: str
    body: Mapping[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return self.body["steps"]

    @property
    def has_credentials(self) -> bool:
        return self.body["permissions"].get("id-token") == "write"

    def uses(self, action: str) -> list[dict[str, Any]]:
        return [step for step in self.steps if step.get("uses", "").startswith(f"{action}@")]


@cache
def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def workflow(name: str) -> Mapping[Any, Any]:
    return yaml.safe_load(text(name))


def triggers(name: str) -> Mapping[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    return workflow(name)[True]


def jobs() -> Iterator[Job]:
    for name in NAMES:
        for key, body in workflow(name)["jobs"].items():
            yield Job(name, key, body)


ALL_JOBS = [pytest.param(job, id=f"{job.workflow}:{job.key}") for job in jobs()]
CREDENTIALED = [param for param in ALL_JOBS if param.values[0].has_credentials]
RUNS = [
    pytest.param(job, step, id=f"{job.workflow}:{job.key}:{at}")
    for job in jobs()
    for at, step in enumerate(job.steps)
    if "run" in step
]


def test_there_is_a_workflow_for_each_purpose():
    assert NAMES == ["checks.yml", "deploy.yml", "drift.yml", "nightly.yml", "preview.yml"]


# Rights.


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_gives_no_rights_that_a_job_does_not_name(name: str):
    assert workflow(name)["permissions"] == {}


@pytest.mark.parametrize("name", NAMES)
def test_no_workflow_runs_a_fork_s_code_with_the_repository_s_rights(name: str):
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & {*triggers(name)}


@pytest.mark.parametrize("job", ALL_JOBS)
def test_a_job_has_the_rights_it_needs_and_no_more(job: Job):
    writes = {right for right, how in job.body["permissions"].items() if how == "write"}
    expected = {
        ("preview.yml", "preview"): {"id-token"},
        ("preview.yml", "comment"): {"pull-requests"},
        ("deploy.yml", "up"): {"id-token"},
        ("drift.yml", "check"): {"id-token"},
        ("drift.yml", "issue"): {"issues"},
        ("nightly.yml", "test"): {"id-token"},
        ("nightly.yml", "sweep"): {"id-token"},
    }
    assert writes == expected.get((job.workflow, job.key), set())
    assert {*job.body["permissions"].values()} <= {"read", "write"}


@pytest.mark.parametrize("job", CREDENTIALED)
def test_credentials_are_for_no_fork(job: Job):
    if "pull_request" not in triggers(job.workflow):
        return
    same = "github.event.pull_request.head.repo.full_name == github.repository"
    assert same in job.body["if"]
    assert " || " not in job.body["if"]


@pytest.mark.parametrize("job", CREDENTIALED)
def test_the_provider_is_the_one_for_what_the_job_does(job: Job):
    (step,) = job.uses("google-github-actions/auth")
    deploys = job.workflow in ("deploy.yml", "nightly.yml")
    kind = "DEPLOY" if deploys else "PREVIEW"
    assert (
        step["with"]["workload_identity_provider"]
        == f"${{{{ vars.LLM_ENDPOINT_{kind}_PROVIDER }}}}"
    )
    assert step["with"]["service_account"] == f"${{{{ vars.LLM_ENDPOINT_{kind}_ACCOUNT }}}}"
    environments = {"deploy.yml": "production", "nightly.yml": "nightly"}
    assert job.body.get("environment") == environments.get(job.workflow)


@pytest.mark.parametrize("job", CREDENTIALED)
def test_the_code_is_there_before_the_credentials_are(job: Job):
    order = [step.get("uses", "").partition("@")[0] for step in job.steps]
    assert order.index("actions/checkout") < order.index("google-github-actions/auth")


def test_the_comment_is_written_by_the_base_s_code_and_not_the_pull_request_s():
    job = next(job for job in jobs() if job.key == "comment")
    (checkout,) = job.uses("actions/checkout")
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert not job.has_credentials


@pytest.mark.parametrize("job", ALL_JOBS)
def test_a_checkout_leaves_no_token_behind(job: Job):
    (step,) = job.uses("actions/checkout")
    assert step["with"]["persist-credentials"] is False


def test_a_deployment_is_of_main_alone():
    assert triggers("deploy.yml")["push"] == {"branches": ["main"]}
    for name in ("deploy.yml", "drift.yml", "nightly.yml"):
        first = next(iter(workflow(name)["jobs"].values()))
        assert "github.ref == 'refs/heads/main'" in first["if"], name


# Time, and one after the other.


@pytest.mark.parametrize("job", ALL_JOBS)
def test_a_job_ends_in_the_end_and_has_a_group(job: Job):
    assert 1 <= job.body["timeout-minutes"] <= 150
    group = job.body.get("concurrency", workflow(job.workflow).get("concurrency"))
    assert group["group"]


def test_one_stack_is_changed_by_one_job_at_a_time_which_nothing_ends():
    changing = [job for job in jobs() if job.key in ("up", "test")]
    assert len(changing) == 2
    for job in changing:
        expected = {"group": "stack-${{ matrix.stack }}", "cancel-in-progress": False}
        assert job.body["concurrency"] == expected
    others = {
        job.body["concurrency"]["group"]
        for job in jobs()
        if job not in changing and "concurrency" in job.body
    }
    assert not any(group.startswith("stack-") for group in others)


def test_runs_that_would_get_in_each_other_s_way_come_one_after_the_other():
    newest = {"group": "pull-request-${{ github.event.pull_request.number }}"}
    assert workflow("preview.yml")["concurrency"] == {**newest, "cancel-in-progress": True}
    one = {"group": "nightly", "cancel-in-progress": False}
    assert workflow("nightly.yml")["concurrency"] == one


def test_the_comment_s_job_tells_of_previews_that_failed_or_were_ended():
    job = next(job for job in jobs() if job.key == "comment")
    assert job.body["if"] == "!cancelled() && needs.touched.result == 'success'"


def test_the_nightly_test_destroys_whatever_happened_and_has_the_time_to():
    job = next(job for job in jobs() if (job.workflow, job.key) == ("nightly.yml", "test"))
    *earlier, last = job.steps
    assert last["if"] == "always()"
    assert shlex.split(last["run"])[0] == "scripts/down"
    assert "timeout-minutes" not in last
    taken = sum(step["timeout-minutes"] for step in earlier if "run" in step)
    assert job.body["timeout-minutes"] - taken >= 40
    assert job.body["timeout-minutes"] < ci_sweep.OLDER_THAN.total_seconds() / 60


def test_the_sweep_has_a_time_of_its_own():
    crons = [one["cron"] for one in triggers("nightly.yml")["schedule"]]
    assert len(crons) == 2
    assert f"github.event.schedule != '{crons[1]}'" in workflow("nightly.yml")["jobs"]["test"]["if"]
    hours = [int(cron.split()[1]) + int(cron.split()[0]) / 60 for cron in crons]
    assert hours[1] - hours[0] > ci_sweep.OLDER_THAN.total_seconds() / 3600


@pytest.mark.parametrize("name", [name for name in NAMES if "schedule" in triggers(name)])
def test_no_schedule_is_at_a_busy_minute(name: str):
    for one in triggers(name)["schedule"]:
        assert int(one["cron"].split()[0]) % 5, "full and round minutes are late or dropped"


# Actions.


@pytest.mark.parametrize("name", NAMES)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(name: str):
    for line in text(name).splitlines():
        if "uses:" in line:
            found = re.fullmatch(r"\s*(?:- )?uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert found, line
            recorded = ACTIONS[found[1]]
            assert (recorded["commit"], recorded["version"]) == (found[2], found[3])


def test_every_recorded_action_is_used():
    used = {
        step["uses"].partition("@")[0] for job in jobs() for step in job.steps if "uses" in step
    }
    assert used == {*ACTIONS}


@pytest.mark.parametrize("job", ALL_JOBS)
def test_an_action_gets_inputs_that_it_has(job: Job):
    for step in job.steps:
        if "uses" in step:
            known = ACTIONS[step["uses"].partition("@")[0]]["inputs"]
            assert {*step.get("with", {})} <= {*known}, step["uses"]


def test_the_cli_is_installed_in_the_pinned_version_and_not_run_by_the_action():
    pinned = tomllib.loads((CHECKOUT / "pins.toml").read_text(encoding="utf-8"))
    steps = [step for job in jobs() for step in job.uses("pulumi/actions")]
    assert len(steps) == len(CREDENTIALED)
    for step in steps:
        assert step["with"] == {"pulumi-version": pinned["pulumi"]["version"]}


# Variables and commands.


def test_the_variables_are_those_that_the_stack_ci_gives():
    read = {name for each in NAMES for name in re.findall(r"vars\.(\w+)", text(each))}
    program = (CHECKOUT / "stacks" / "ci.py").read_text(encoding="utf-8")
    given = {*re.findall(r'"(LLM_ENDPOINT_[A-Z_]+)":', program)}
    assert len(given) == 6
    assert read == given | OPTIONAL
    actionlint = yaml.safe_load((CHECKOUT / ".github/actionlint.yaml").read_text("utf-8"))
    assert {*actionlint["config-variables"]} == read


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_needs_no_secret_but_its_own_token(name: str):
    assert "secrets." not in text(name)


def words(step: Mapping[str, Any]) -> list[str]:
    """The words of a `run:`, its variables filled in."""
    command = step["run"]
    for name, value in SAMPLES.items():
        command = command.replace(f"${name}", value)
    assert "$" not in command, "a variable without a sample"
    return shlex.split(command)


@pytest.mark.parametrize(("job", "step"), RUNS)
def test_a_command_takes_values_by_variables_that_its_step_has(job: Job, step: dict[str, Any]):
    assert "${{" not in step["run"]
    named = {*re.findall(r"\$(\w+)", step["run"])}
    assert named - OF_THE_RUNNER <= {*step.get("env", {})}
    assert all(f'"${name}' in step["run"] for name in named), "quote it"


@pytest.mark.parametrize(("job", "step"), RUNS)
def test_a_command_is_one_script_that_is_here_with_arguments_that_parse(
    job: Job, step: dict[str, Any]
):
    first, *rest = words(step)
    match first:
        case "scripts/test":
            assert rest == []
        case "scripts/up" | "scripts/down":
            name, options = stack.parse(rest)
            assert name == "cpu-vm"
            ours, theirs = (
                ({"--policy"}, PULUMI_UP) if first == "scripts/up" else (set(), PULUMI_DESTROY)
            )
            assert {option.partition("=")[0] for option in options} <= ours | theirs
        case "python":
            assert rest[:1] == ["-m"]
            assert rest[1].startswith("scripts.ci.")
            importlib.import_module(rest[1]).parse(rest[2:])
        case _:
            pytest.fail(f"{first} is no script of ours")
    if first != "python":
        assert (CHECKOUT / first).stat().st_mode & 0o100


def test_what_the_runner_s_own_python_runs_needs_no_package():
    modules = {words(step.values[1])[2] for step in RUNS if "python -m" in step.values[1]["run"]}
    program = "import importlib, sys; [importlib.import_module(one) for one in sys.argv[1:]]"
    # -S: without site-packages.
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *sorted(modules)],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(modules) == 5
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["cpu-vm", "--base", "HEAD^1", "--out", "previews"],
        ["cpu-vm", "--base", "HEAD^1", "--mocked", "--out", "previews"],
        ["cpu-vm", "--drift", "--out", "checks"],
    ],
)
def test_the_preview_that_a_job_asks_for_is_one_that_scripts_preview_takes(arguments: list[str]):
    asked = ci_preview.parse(arguments)
    script, *rest = ci_preview.command(this_checkout(), asked, "cpu-vm", Path("/tmp/out.md"))
    assert Path(script).samefile(CHECKOUT / "scripts" / "preview")
    taken = previews.parse(rest)
    assert (taken.stack, taken.base, taken.mocked) == ("cpu-vm", asked.base, asked.mocked)
    assert taken.expect_no_changes == asked.drift
    assert taken.out == Path("/tmp/out.md")
    assert taken.rest == ()


def test_the_artifacts_that_are_handed_on_are_those_that_are_read():
    for name, folder, reader in (
        ("preview.yml", "previews", "comment"),
        ("drift.yml", "checks", "issue"),
    ):
        own = [job for job in jobs() if job.workflow == name]
        (download,) = [step for job in own for step in job.uses("actions/download-artifact")]
        (upload,) = [step for job in own for step in job.uses("actions/upload-artifact")]
        stem = download["with"]["pattern"].removesuffix("*")
        assert upload["with"]["name"] == f"{stem}${{{{ matrix.stack }}}}"
        assert upload["with"]["path"] == folder
        run = next(job for job in own if job.key == reader).steps[-1]["run"]
        assert f'"$RUNNER_TEMP/{folder}"' in run
        assert download["with"]["path"] == f"${{{{ runner.temp }}}}/{folder}"
