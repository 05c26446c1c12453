"""`python -m scripts.render`: every file of a stack, with nothing but this checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.settings import CpuVmSettings
from scripts import render
from stacks.cpu_vm import plan

CHECKOUT = Path(__file__).resolve().parents[2]
FEW = {
    "user-data.yaml": "#cloud-config\n",
    "machine/etc/x": "x\n",
    "startup-script.sh": "#!/bin/sh\n",
}


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(render, "HERE", tmp_path)
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacks.cpu_vm.files", lambda settings, stack: FEW)


def test_a_program_is_rendered_by_its_name_with_no_home_and_no_cloud():
    shown = subprocess.run(
        [sys.executable, "-m", "scripts.render", "cpu-vm"],
        cwd=CHECKOUT,
        env={"PATH": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    heads = [line for line in shown.stdout.splitlines() if line.startswith("==== ")]
    assert heads[:2] == ["==== user-data.yaml", "==== startup-script.sh"]
    assert "==== machine/etc/llm-endpoint/machine.json" in heads
    told = "allowed_cidrs is not set: rendered as for 203.0.113.0/24" in shown.stderr
    # A person's or a team's own stack of that name may say more.
    own = CHECKOUT / "stacks" / "Pulumi.cpu-vm.yaml"
    assert told or (own.exists() and "allowed_cidrs" in own.read_text(encoding="utf-8"))


def test_rendering_loads_no_provider():
    code = (
        "import sys; from scripts.render import rendered; rendered('cpu-vm', {}); "
        "print([n for n in sys.modules if n in ('pulumi_gcp', 'pulumi_command', 'google.auth')])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "[]"


def told(settings: CpuVmSettings, stack: str) -> dict[str, str]:
    return {stack: str(settings.idle_minutes)}


def test_what_is_given_goes_over_the_stacks_file(stacks: Path, monkeypatch: pytest.MonkeyPatch):
    (stacks / "Pulumi.mine.yaml").write_text(
        "config:\n  llm-endpoint:program: cpu-vm\n  llm-endpoint:idle_minutes: 7\n"
    )
    monkeypatch.setattr("stacks.cpu_vm.files", told)
    assert render.rendered("mine", {}) == {"mine": "7"}
    assert render.rendered("me/llm-endpoint/mine", {"idle_minutes": "9"}) == {"mine": "9"}


def test_a_stack_of_another_name_is_rendered_under_that_name(
    stacks: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stacks.cpu_vm.files", told)
    given = {"program": "cpu-vm", "idle_minutes": "30"}
    assert render.rendered("me/llm-endpoint/other", given) == {"other": "30"}


def test_the_network_and_the_project_decide_nothing_of_a_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "stacks.cpu_vm.files", lambda settings, stack: {"plan": repr(plan(settings, stack))}
    )
    given = {"allowed_cidrs": "198.51.100.4/32", "gcp:project": "another-project"}
    assert render.rendered("cpu-vm", given) == render.rendered("cpu-vm", {})


def test_a_stack_that_is_no_programs_is_told_the_programs(capsys: pytest.CaptureFixture[str]):
    assert render.main(["cpu-wm"]) == 1
    assert "did you mean cpu-vm?" in capsys.readouterr().err


def test_bad_settings_are_all_named(capsys: pytest.CaptureFixture[str]):
    pairs = ["--config", "idle_minutes=x", "--config", "tls=none"]
    assert render.main(["cpu-vm", *pairs]) == 1
    said = capsys.readouterr().err
    assert "llm-endpoint:idle_minutes" in said
    assert "llm-endpoint:tls" in said


@pytest.mark.parametrize("pair", ["idle_minutes", "=7"])
def test_a_pair_without_key_or_value_is_refused(pair: str, capsys: pytest.CaptureFixture[str]):
    assert render.main(["cpu-vm", "--config", pair]) == 1
    assert "write --config KEY=VALUE" in capsys.readouterr().err


def test_a_value_may_hold_equals_signs_and_a_key_the_projects_name():
    assert render.overrides(["llm-endpoint:engine_flags=--a=b"]) == {"engine_flags": "--a=b"}


def test_the_local_stack_says_that_it_puts_nothing_on_a_machine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert render.main(["local", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "local puts no files on a machine" in said.err
    assert not (tmp_path / "out").exists()


def test_a_tree_is_written_and_written_anew(
    tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "a" / "out"
    assert render.main(["cpu-vm", "--out", str(out)]) == 0
    written = {str(f.relative_to(out)): f.read_text() for f in out.rglob("*") if f.is_file()}
    assert written.pop(render.MANIFEST).splitlines() == sorted(FEW)
    assert written == FEW
    assert os.access(out / "startup-script.sh", os.X_OK)
    assert not os.access(out / "user-data.yaml", os.X_OK)
    monkeypatch.setattr("stacks.cpu_vm.files", lambda settings, stack: {"one": "1\n"})
    assert render.main(["cpu-vm", "--out", str(out)]) == 0
    assert sorted(f.name for f in out.iterdir()) == [render.MANIFEST, "one"]


def test_a_folder_with_anything_else_in_it_is_left_alone(
    tmp_path: Path, few: None, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine").write_text("mine")
    assert render.main(["cpu-vm", "--out", str(tmp_path)]) == 1
    assert "holds what was not rendered into it" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


def test_what_a_person_put_into_a_rendered_folder_survives(tmp_path: Path, few: None):
    out = tmp_path / "out"
    assert render.main(["cpu-vm", "--out", str(out)]) == 0
    (out / "machine" / "note").write_text("mine")
    assert render.main(["cpu-vm", "--out", str(out)]) == 1
    assert (out / "machine" / "note").read_text() == "mine"


def test_a_manifest_that_points_outside_removes_nothing(
    tmp_path: Path, few: None, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious").write_text("mine")
    (out / render.MANIFEST).write_text("../precious\n")
    assert render.main(["cpu-vm", "--out", str(out)]) == 1
    assert "lies outside" in capsys.readouterr().err
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"replicas": "2", "max_nodes": "2"}, "chat 2"),
        ({"max_replicas": "2", "max_nodes": "2"}, "chat 1 to 2"),
        ({"parked": "true"}, "chat 0"),
    ],
)
def test_how_many_pods_there_will_be_is_noted_where_no_file_says_it(
    stacks: Path, capsys: pytest.CaptureFixture[str], given: dict[str, str], counts: str
):
    assert render.rendered("gke-ovms", given)
    assert f"note: replicas: {counts}: set by up, not in the files" in capsys.readouterr().err


def test_a_runtime_has_a_folder_of_its_own_and_its_bucket_is_said_to_be_the_projects(
    stacks: Path, capsys: pytest.CaptureFixture[str]
):
    found = render.rendered("gke-colab", {"runtime_replicas": "0"})
    assert {path.partition("/")[0] for path in found} == {"kubernetes", "kubernetes-runtime"}
    noted = capsys.readouterr().err
    assert "replicas: chat 1, colab-runtime 0: set by up" in noted
    assert "gcp:project is not set: rendered as for my-project, which names the bucket" in noted
