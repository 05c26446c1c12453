"""scripts/up, down and pulumi as people start them, with a pulumi that only notes its calls."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_machine import KEY, URL, Machine, make_machine, write_program

from scripts.bootstrap.virtual_environment import STAMP


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make_machine(tmp_path)


def test_a_second_run_starts_nothing_but_what_it_must(machine: Machine):
    machine.put_stack("local")
    assert machine.run("scripts/up").returncode == 0
    again = machine.run("scripts/up")
    assert again.returncode == 0
    assert machine.pulumi_calls == [
        "up --yes --skip-preview --suppress-outputs --stack local --non-interactive",
        "stack output --json --stack local --show-secrets --non-interactive --color never",
    ]
    assert machine.python_calls == [f"{machine.root}/scripts/bootstrap up"]


def test_an_endpoint_that_was_not_changed_is_checked_again(machine: Machine):
    machine.put_stack("local")
    machine.put_outputs(endpoint_url=URL, model="m", verification={"verified_at": "2026-01-01"})
    up = machine.run("scripts/up")
    assert up.returncode == 0
    [(arguments, key)] = machine.verifications
    assert arguments[0] == URL
    assert arguments[arguments.index("--key-env") + 1] == "LLM_ENDPOINT_KEY"
    assert key == KEY
    assert KEY not in " ".join(machine.python_calls) + up.stdout + up.stderr
    assert f"endpoint: {URL}/v1" in up.stdout


def test_an_endpoint_that_this_up_verified_is_not_checked_again(machine: Machine):
    machine.put_stack("local")
    fresh = {"verified_at": "2999-01-01T00:00:00+00:00"}
    machine.put_outputs(endpoint_url=URL, model="m", verification=fresh)
    assert machine.run("scripts/up").returncode == 0
    assert machine.verifications == []


def test_an_endpoint_that_does_not_answer_fails_up(machine: Machine):
    machine.put_stack("local")
    machine.put_outputs(endpoint_url=URL, model="m")
    up = machine.run("scripts/up", VERIFY_STATUS="1")
    assert up.returncode == 1
    assert "chat: nothing came" in up.stderr
    assert "curl" not in up.stdout


def test_a_ca_of_our_own_is_written_down_and_named(machine: Machine):
    machine.put_stack("local")
    machine.put_outputs(endpoint_url=URL, model="m", ca_certificate="PEM")
    up = machine.run("scripts/up")
    file = machine.root / ".state" / "local-ca.pem"
    assert file.read_text(encoding="utf-8") == "PEM"
    assert "--cacert" in up.stdout
    assert "--ca-file" in machine.verifications[0][0]


def configuration(machine: Machine) -> Path:
    return machine.root / "stacks" / "Pulumi.local.yaml"


def test_a_new_local_stack_gets_the_stand_in_where_no_hub_answers(machine: Machine):
    machine.put_stack("another")
    up = machine.run("scripts/up")
    assert up.returncode == 0
    assert machine.pulumi_calls[1:3] == [
        "stack init local --non-interactive --color never",
        "up --yes --skip-preview --suppress-outputs --stack local --non-interactive",
    ]
    text = configuration(machine).read_text(encoding="utf-8")
    assert text == "config:\n  llm-endpoint:model: builtin:stand-in\n"
    assert "STAND-IN MODEL" in up.stderr


def test_the_stand_in_is_written_before_the_stack_so_that_a_kill_between_loses_nothing(
    machine: Machine,
):
    machine.put_stack("another")
    dying = "#!/bin/sh\ncase $1 in version) echo v3.250.0;; *) kill -9 $$;; esac\n"
    write_program(machine.other / "bin" / "pulumi", dying)
    machine.run("scripts/up")
    assert "builtin:stand-in" in configuration(machine).read_text(encoding="utf-8")


def test_the_stand_in_joins_what_is_configured_already(machine: Machine):
    machine.put_stack("another")
    configuration(machine).write_text(
        "secretsprovider: x\nconfig:\n  llm-endpoint:slots: 2\n", encoding="utf-8"
    )
    machine.run("scripts/up")
    assert configuration(machine).read_text(encoding="utf-8") == (
        "secretsprovider: x\nconfig:\n  llm-endpoint:model: builtin:stand-in\n"
        "  llm-endpoint:slots: 2\n"
    )


def test_a_new_local_stack_keeps_its_model_where_the_hub_answers(machine: Machine):
    machine.put_stack("another")
    up = machine.run("scripts/up", HUB="1")
    assert not configuration(machine).exists()
    assert "STAND-IN" not in up.stderr


def test_a_new_local_stack_keeps_the_model_that_it_was_given(machine: Machine):
    machine.put_stack("another")
    text = "config:\n  llm-endpoint:model: /x.gguf\n"
    configuration(machine).write_text(text, encoding="utf-8")
    machine.run("scripts/up")
    assert configuration(machine).read_text(encoding="utf-8") == text


def test_the_status_of_pulumi_is_that_of_up(machine: Machine):
    machine.put_stack("local")
    up = machine.run("scripts/up", "--diff", UP_STATUS="255")
    assert up.returncode == 255
    assert "error: pulumi up ended with status 255\nnext: " in up.stderr
    assert machine.pulumi_calls[-1].endswith("--stack local --diff --non-interactive")


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_shared_state_is_not_written_with_another_passphrase(machine: Machine, command: str):
    machine.put_stack("local")
    mark = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    machine.put_resources({"outputs": {"api_key": {**mark, "plaintext": "null"}}})
    url = machine.backend.as_uri()
    refused = machine.run(f"scripts/{command}", PULUMI_BACKEND_URL=url)
    assert refused.returncode == 1
    assert "encrypted with another passphrase" in refused.stderr
    assert [call.split()[0] for call in machine.pulumi_calls] == ["version", "stack"]
    assert machine.run(f"scripts/{command}").returncode == 0, "its own folder is not asked"


def test_a_lock_of_a_pulumi_that_is_gone_is_removed(machine: Machine):
    machine.put_stack("local")
    machine.put_lock(pid=2**22 + 1)
    up = machine.run("scripts/up")
    assert up.returncode == 0
    assert f"Removed the lock of a pulumi that is gone (pid {2**22 + 1}" in up.stderr
    assert [call.split()[0] for call in machine.pulumi_calls] == [
        *("version", "up", "refresh", "stack")
    ]


def test_a_second_up_says_that_another_is_at_work(machine: Machine, tmp_path: Path):
    machine.put_stack("local")
    program = tmp_path / "pulumi"
    program.symlink_to(sys.executable)
    with subprocess.Popen(
        [program, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as working:
        try:
            assert working.stdout is not None
            working.stdout.readline()
            machine.put_lock(working.pid)
            up = machine.run("scripts/up")
        finally:
            working.communicate(b"\n")
    assert up.returncode == 1
    assert f"another pulumi (pid {working.pid}, since T)" in up.stderr
    assert machine.pulumi_calls == ["version"]


def test_down_of_a_stack_that_is_not_there_names_those_that_are(machine: Machine):
    machine.put_stack("local")
    down = machine.run("scripts/down", "other")
    assert down.returncode == 1
    assert "has no stack other" in down.stderr
    assert "(local)" in down.stderr
    assert machine.pulumi_calls == []


def test_down_says_that_nothing_bills(machine: Machine):
    machine.put_stack("local")
    machine.put_outputs(billing=[{"resource": "a disk", "running": True, "parked": True}])
    down = machine.run("scripts/down", "--remove")
    assert down.returncode == 0
    assert machine.pulumi_calls[-1] == (
        "destroy --yes --skip-preview --suppress-outputs --stack local --remove --non-interactive"
    )
    assert down.stdout == "local is down. Nothing of it bills any more (what did: a disk).\n"


def test_pulumi_s_stdout_is_its_own(machine: Machine, tmp_path: Path):
    shown = machine.run("scripts/pulumi", "env", folder=tmp_path)
    assert shown.returncode == 0
    variables = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    venv = machine.root / ".venv"
    assert variables["PATH"].split(":")[:2] == [str(venv / "bin"), str(machine.other / "bin")]
    assert variables["VIRTUAL_ENV"] == str(venv)
    assert variables["PULUMI_BACKEND_URL"].startswith("file:///")
    assert variables["PULUMI_SKIP_UPDATE_CHECK"] == "1"
    assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(machine.root / ".state/passphrase")
    assert "PYTHONPATH" not in variables
    assert "PULUMI_PYTHON_CMD" not in variables, "only a language host that is built here needs it"
    assert shown.stderr.count("Backend: ") == 1


def test_doctor_finds_a_checkout_that_is_set_up_well(machine: Machine):
    doctor = machine.run("scripts/doctor", HF_ENDPOINT="http://127.0.0.1:1")
    assert "Pulumi v3.250.0, on PATH" in doctor.stdout
    assert "plugins: command 1.2.1, published" in doctor.stdout
    assert "model hub http://127.0.0.1:1 does not answer" in doctor.stdout
    assert not (machine.root / ".state").exists()


def test_doctor_says_what_to_type(machine: Machine):
    config = machine.root / "stacks" / "Pulumi.local.yaml"
    config.write_text("encryptionsalt: v1:x\n", encoding="utf-8")
    doctor = machine.run("scripts/doctor", HF_ENDPOINT="http://127.0.0.1:1")
    assert doctor.returncode == 1
    assert re.search(r"^problem: .*is encrypted.*\n +type: put the", doctor.stdout, re.MULTILINE)


def test_a_machine_without_a_new_python_is_told_what_it_has(machine: Machine, tmp_path: Path):
    shutil.rmtree(machine.root / ".venv")
    programs = tmp_path / "programs"
    for name, version in {"python3": "3.9.2", "python3.11": ""}.items():
        write_program(programs / name, f"#!/bin/sh\necho {version}\nexit 1\n")
    for name in ("sh", "dirname", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    up = machine.run("scripts/up", PATH=str(programs))
    assert up.returncode == 1
    assert up.stdout == ""
    assert up.stderr.startswith("error: this needs Python 3.11 or newer, and none is on PATH.\n")
    assert f"  found: {programs}/python3, 3.9.2\n" in up.stderr
    assert f"  found: {programs}/python3.11, which does not run\n" in up.stderr
    assert "next: install one, or name one that you have: PYTHON=/path/to/python3.12" in up.stderr
    assert "Traceback" not in up.stderr


def test_a_machine_without_python_is_told_so(machine: Machine, tmp_path: Path):
    shutil.rmtree(machine.root / ".venv")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "dirname", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    up = machine.run("scripts/up", PATH=str(programs))
    assert up.returncode == 1
    assert "  found: no Python at all\n" in up.stderr


def test_the_first_python_that_will_do_is_taken(machine: Machine, tmp_path: Path):
    (machine.root / ".venv" / STAMP).unlink()
    programs = tmp_path / "programs"
    write_program(programs / "python3", "#!/bin/sh\necho 3.9.2\nexit 1\n")
    shown = f'#!/bin/sh\ncase $1 in -c) exec "{sys.executable}" "$@";; *) echo "$@";; esac\n'
    write_program(programs / "python3.13", shown)
    for name in ("sh", "dirname", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    up = machine.run("scripts/up", "a b", PATH=str(programs))
    assert (up.stdout, up.stderr) == (f"{machine.root}/scripts/bootstrap up a b\n", "")
    named = machine.run("scripts/up", PATH=str(programs), PYTHON=str(programs / "python3.13"))
    assert named.stdout.endswith("scripts/bootstrap up\n")


def test_the_environment_s_own_python_is_used_without_asking(machine: Machine, tmp_path: Path):
    asked = tmp_path / "asked"
    write_program(machine.other / "bin" / "python3", f"#!/bin/sh\ntouch '{asked}'\nexit 1\n")
    assert machine.run("scripts/pulumi", "version").stdout == "v3.250.0\n"
    assert not asked.exists()


def test_no_script_writes_outside_the_checkout_and_the_cache(machine: Machine):
    machine.put_stack("local")
    before = sorted((machine.other / "home").rglob("*"))
    machine.run("scripts/up")
    assert sorted((machine.other / "home").rglob("*")) == before
    assert {path.name for path in machine.root.iterdir()} == {
        *(".state", ".venv", "components", "pins.toml", "requirements", "requirements.txt"),
        *("scripts", "stacks"),
    }


def test_a_cache_that_can_t_be_made_is_named(machine: Machine, tmp_path: Path):
    (tmp_path / "file").touch()
    (machine.other / "bin" / "pulumi").unlink()
    up = machine.run("scripts/up", LLM_ENDPOINT_CACHE=str(tmp_path / "file" / "cache"))
    assert up.returncode == 1
    assert "set LLM_ENDPOINT_CACHE to a folder that you may write" in up.stderr


@pytest.mark.parametrize("script", ["up", "down", "doctor"])
def test_help_does_nothing_else(machine: Machine, script: str):
    helped = machine.run(f"scripts/{script}", "local", "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: scripts/up [STACK]")
    assert machine.pulumi_calls == []
    assert not (machine.root / ".state").exists()


def test_pulumi_without_a_stack_asks_for_no_plugins(machine: Machine):
    package = machine.root / ".venv" / "lib" / "python3" / "site-packages" / "pulumi_gcp"
    package.mkdir()
    about = {"resource": True, "name": "gcp", "version": "9.7.0"}
    (package / "pulumi-plugin.json").write_text(json.dumps(about), encoding="utf-8")
    shown = machine.run("scripts/pulumi", "env")
    assert shown.returncode == 0
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in shown.stdout
    named = machine.run("scripts/pulumi", "env", "--stack", "local")
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true" in named.stdout


def test_a_python_that_is_asked_for_and_not_there_is_named(machine: Machine):
    up = machine.run("scripts/up", PYTHON="/nowhere/python3.13")
    assert up.returncode == 1
    assert "error: PYTHON is /nowhere/python3.13, and there is no such program" in up.stderr
    assert machine.pulumi_calls == []
