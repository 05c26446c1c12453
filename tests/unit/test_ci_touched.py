"""Which stacks a change touches: never one too few, and none for words."""

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from scripts.bootstrap.places import Checkout, this_checkout
from scripts.ci import touched as module
from scripts.ci.imports import Imports
from scripts.ci.stacks import Purpose, committed, of, programs
from scripts.ci.touched import Program, changed_since, concerned, program_of, touched
from stacks import PROGRAMS

VMS = {"cpu-vm", "gpu-vm"}
CLUSTERS = {"gke-ovms", "gke-colab"}
ALL = set(PROGRAMS)


@cache
def known() -> Mapping[str, Program]:
    checkout = this_checkout()
    imports = Imports.of(checkout.root)
    return {
        name: program_of(checkout, name, stem, imports) for name, stem in programs(checkout).items()
    }


def touched_by(*paths: str) -> set[str]:
    existing = {path for path in paths if Path(this_checkout().root, path).exists()}
    return {name for name, one in known().items() if concerned(paths, one, existing)}


def test_the_programs_are_those_that_can_be_deployed():
    assert programs(this_checkout()) == {name: one.module for name, one in PROGRAMS.items()}


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_program_is_touched_by_its_module_and_its_defaults(name: str):
    stem = PROGRAMS[name].module
    assert touched_by(f"stacks/{stem}.yaml") == {name}
    assert name in touched_by(f"stacks/{stem}.py")


def test_what_several_programs_share_touches_them_all():
    assert touched_by("stacks/gcp_vm.py") == VMS
    assert touched_by("components/targets/gcp/vm.py") == VMS
    assert touched_by("components/targets/gke/cluster.py") == CLUSTERS


def test_the_settings_of_one_program_touch_that_one():
    assert touched_by("components/settings/cpu_vm.py") == {"cpu-vm"}


def test_what_is_put_on_machines_touches_those_that_have_machines():
    assert touched_by("machine/keys.py") >= VMS
    assert "local" not in touched_by("machine/keys.py")
    assert touched_by("machine/stages/__init__.py") >= VMS
    assert touched_by("components/rendering/files/units/llm-endpoint-engine.service") >= VMS
    assert "model-registry" not in touched_by("machine/watchdog.py")


def test_the_list_of_flags_of_an_engine_touches_who_can_run_it():
    assert {"cpu-vm", "local"} <= touched_by("components/engines/llama_cpp_server_flags.txt")


@pytest.mark.parametrize(
    "path",
    ["__main__.py", "Pulumi.yaml", "pins.toml", "requirements.txt", "stacks/__init__.py"],
)
def test_what_every_deployment_has_touches_every_program(path: str):
    assert touched_by(path) == ALL


@pytest.mark.parametrize("path", ["policy/rules/new.py", "something/new.txt"])
def test_what_is_of_no_known_kind_touches_every_program(path: str):
    assert touched_by(path) == ALL


@pytest.mark.parametrize("path", ["components/gone.py", "scripts/models/gone.py"])
def test_a_module_that_is_gone_touches_every_program(path: str):
    assert touched_by(path) == ALL


@pytest.mark.parametrize(
    "path",
    [
        *("README.md", "docs/cpu-vm.md", "tests/unit/test_settings.py", "scripts/down"),
        *(".github/workflows/checks.yml", "LICENSE", "emulator/gcp/cloud.py"),
        "components/README.md",
    ],
)
def test_words_tests_and_what_stands_in_touch_nothing(path: str):
    assert touched_by(path) == set()


def test_a_module_that_no_program_imports_touches_nothing(tmp_path: Path):
    assert not concerned(["components/x.py"], Program("a", frozenset()), ["components/x.py"])


# Over a small repository of its own.

FILES = {
    "stacks/__init__.py": "",
    "stacks/cpu_vm.py": "from components.vm import make\n",
    "stacks/cpu_vm.yaml": "",
    "stacks/ci.py": '"""Names components.vm in words alone."""\n',
    "stacks/ci.yaml": "",
    "stacks/local.py": "COMMAND = 'python -m scripts.serve.run'\n",
    "stacks/local.yaml": "",
    "components/__init__.py": "",
    "components/vm.py": "def make(): ...\n",
    "scripts/__init__.py": "",
    "scripts/serve/__init__.py": "",
    "scripts/serve/run.py": "",
}


def git(root: Path, *words: str) -> str:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *options, *words], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(checkout: Checkout, files: Mapping[str, str | None]) -> str:
    for name, text in files.items():
        path = checkout.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            path.write_text(text, encoding="utf-8")
    git(checkout.root, "add", "--all")
    git(checkout.root, "commit", "--quiet", "-m", "a change")
    return git(checkout.root, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    found = Checkout(tmp_path / "check out")
    found.root.mkdir()
    git(found.root, "init", "--quiet")
    commit(found, FILES)
    return found


def with_team(checkout: Checkout) -> str:
    stack = "config:\n  llm-endpoint:program: {}\n".format
    return commit(
        checkout,
        {
            "stacks/Pulumi.ci.yaml": "config: {}\n",
            "stacks/Pulumi.prod.yaml": stack("cpu-vm"),
            "stacks/Pulumi.laptop.yaml": stack("local"),
            "stacks/Pulumi.nightly-cpu-vm.yaml": stack("cpu-vm"),
            "stacks/Pulumi.nightly-ci.yaml": stack("ci"),
        },
    )


def test_a_team_s_stacks_are_those_whose_files_are_committed(checkout: Checkout):
    with_team(checkout)
    (checkout.root / "stacks" / "Pulumi.mine.yaml").write_text("config: {}\n", encoding="utf-8")
    assert committed(checkout) == ["ci", "laptop", "nightly-ci", "nightly-cpu-vm", "prod"]
    assert of(checkout, Purpose.PREVIEW) == ["ci", "prod"]
    assert of(checkout, Purpose.DRIFT) == ["ci", "prod"]
    assert of(checkout, Purpose.DEPLOY) == ["prod"]
    assert of(checkout, Purpose.NIGHTLY) == ["nightly-cpu-vm"]


def test_without_a_team_every_program_is_previewed_and_nothing_deployed(checkout: Checkout):
    assert of(checkout, Purpose.PREVIEW) == ["ci", "cpu-vm", "local"]
    assert of(checkout, Purpose.DEPLOY) == of(checkout, Purpose.DRIFT) == []


def test_a_change_touches_the_stacks_of_the_program_that_imports_it(checkout: Checkout):
    base = with_team(checkout)
    commit(checkout, {"components/vm.py": "def make(): return 1\n"})
    assert touched(checkout, Purpose.PREVIEW, base) == ("prod",)
    assert touched(checkout, Purpose.DEPLOY, base) == ("prod",)


def test_a_stack_s_own_file_touches_it_alone(checkout: Checkout):
    base = with_team(checkout)
    commit(checkout, {"stacks/Pulumi.ci.yaml": "config:\n  llm-endpoint:environment: x\n"})
    assert touched(checkout, Purpose.PREVIEW, base) == ("ci",)


def test_a_module_that_a_command_names_is_the_program_s(checkout: Checkout):
    base = git(checkout.root, "rev-parse", "HEAD")
    commit(checkout, {"scripts/serve/run.py": "print()\n"})
    assert touched(checkout, Purpose.PREVIEW, base) == ("local",)


def test_a_renamed_module_touches_who_had_it(checkout: Checkout):
    base = with_team(checkout)
    commit(checkout, {"components/vm.py": None, "components/machine.py": FILES["components/vm.py"]})
    assert touched(checkout, Purpose.PREVIEW, base) == ("ci", "prod")


@pytest.mark.parametrize("base", ["0" * 40, "no-such-branch", "--help"])
def test_a_base_that_git_does_not_know_touches_everything(checkout: Checkout, base: str):
    with_team(checkout)
    assert changed_since(checkout, base) is None
    assert touched(checkout, Purpose.DEPLOY, base) == ("prod",)


def run(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(module, "this_checkout", lambda: checkout)
    output = checkout.root.parent / "output"
    status = module.main(arguments, {"GITHUB_OUTPUT": str(output)})
    return status, output.read_text(encoding="utf-8") if output.exists() else ""


def test_the_stacks_go_to_the_workflow_as_json(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with_team(checkout)
    status, output = run(checkout, monkeypatch, "--for", "drift", "--base", "", "--only", "")
    assert (status, output) == (0, 'stacks=["ci", "prod"]\n')
    assert json.loads(capsys.readouterr().out) == ["ci", "prod"]


def test_one_stack_can_be_asked_for(checkout: Checkout, monkeypatch: pytest.MonkeyPatch):
    base = with_team(checkout)
    asked = ("--for", "deploy", "--base", base, "--only", "prod")
    assert run(checkout, monkeypatch, *asked) == (0, 'stacks=["prod"]\n')


@pytest.mark.parametrize("name", ["ci", "laptop", "nightly-cpu-vm", "other", '"]\nx=y'])
def test_a_stack_that_is_not_deployed_by_workflows_is_refused(
    checkout: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
):
    with_team(checkout)
    status, output = run(checkout, monkeypatch, "--for", "deploy", "--only", name)
    assert (status, output) == (1, "")
    assert "there is prod" in capsys.readouterr().err
