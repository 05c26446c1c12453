"""The startup script of images without cloud-init, as far as it can be tried anywhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from machine.status import CONSOLE_PREFIX, STAGES, State

SCRIPT = Path(__file__).resolve().parents[2] / "components/rendering/files/startup-script.sh"
TEXT = SCRIPT.read_text(encoding="utf-8")


def functions(tmp_path: Path) -> str:
    """The script's functions, with a console and a log of the test's own."""
    defined = re.findall(r"^(?:\w+\(\) \{\n.*?\n\})$", TEXT, re.MULTILINE | re.DOTALL)
    console, log = tmp_path / "console", tmp_path / "log"
    console.touch()
    text = "\n".join(defined).replace("/dev/console", str(console))
    return f"set -u\nlog={log}\ntries=3\npause_seconds=0\n{text}\n"


def shell(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", functions(tmp_path) + code], capture_output=True, text=True, check=False
    )


def records(tmp_path: Path) -> list[dict[str, object]]:
    lines = (tmp_path / "console").read_text().splitlines()
    assert all(line.startswith(CONSOLE_PREFIX) for line in lines)
    return [json.loads(line.removeprefix(CONSOLE_PREFIX)) for line in lines]


def test_the_linter_for_shells_has_nothing_to_say():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    linted = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_where_cloud_init_is_there_nothing_is_done(tmp_path: Path):
    if Path("/etc/cloud/cloud-init.disabled").exists():
        pytest.skip("this machine's own cloud-init is disabled")
    (tmp_path / "cloud-init").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "cloud-init").chmod(0o755)
    begun = TEXT[: TEXT.index(': >"$log"')] + "echo went on\n"
    done = subprocess.run(
        ["/bin/sh", "-c", begun],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_records_are_those_that_the_machine_writes(tmp_path: Path):
    done = shell('report running "installing cloud-init"', tmp_path)
    assert done.returncode == 0
    (record,) = records(tmp_path)
    assert record["stage"] in STAGES
    assert record["state"] == State.RUNNING
    assert record["message"] == "installing cloud-init"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(record["time"]))
    assert re.fullmatch("[0-9a-f]{8}", str(record["boot"]))


def test_a_log_with_any_signs_is_told_whole(tmp_path: Path):
    lines = ['say "hello" \\ and $HOME', "tab\tand \x1b[31mred é", "x" * 400, *map(str, range(30))]
    (tmp_path / "log").write_text("\n".join(lines[:3]) + "\n")
    shell('report failed "it failed" "$(end_of_log)"', tmp_path)
    (record,) = records(tmp_path)
    assert record["log"] == ['say "hello" \\ and $HOME', "taband [31mred ", "x" * 190]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    shell('report failed "it failed" "$(end_of_log)"', tmp_path)
    assert records(tmp_path)[1]["log"] == [str(number) for number in range(10, 30)]


def test_what_the_network_fails_is_tried_again(tmp_path: Path):
    code = (
        f'flaky() {{ echo >> {tmp_path}/tried; [ "$(wc -l < {tmp_path}/tried)" -ge 2 ]; }}\n'
        'try "reading" flaky; echo went on'
    )
    done = shell(code, tmp_path)
    assert done.stdout.endswith("went on\n")
    assert [record["state"] for record in records(tmp_path)] == ["retrying"]


def test_tries_end_in_one_failure_with_the_log_and_a_machine_that_is_off(tmp_path: Path):
    done = shell(
        'systemctl() { echo "systemctl $*"; }\nbroken() { echo no route; return 7; }\n'
        'try "reading" broken; echo went on',
        tmp_path,
    )
    assert done.returncode == 1
    assert done.stdout.endswith("systemctl --no-block poweroff\n")
    told = records(tmp_path)
    assert [record["state"] for record in told] == ["retrying", "retrying", "failed"]
    assert told[-1]["log"] == ["no route"] * 3
    assert "next:" in str(told[-1]["message"])


def test_cloud_init_is_kept_from_what_googles_agent_does():
    (kept,) = re.findall(r"<<'END'\n(.*?)^END$", TEXT, re.MULTILINE | re.DOTALL)
    content = yaml.safe_load(kept)
    assert content["network"] == {"config": "disabled"}
    assert content["datasource_list"] == ["NoCloud", "None"]
    assert content["users"] == []
    modules = content["cloud_init_modules"] + content["cloud_config_modules"]
    modules += content["cloud_final_modules"]
    assert not {"ssh", "set_hostname", "locale", "grub-dpkg", "growpart", "mounts"} & set(modules)
    assert {"write-files", "users-groups", "runcmd", "scripts-user"} <= set(modules)


def test_it_is_kept_before_it_is_installed_and_marked_until_it_is_done():
    order = [
        'cat >"$settings"',
        ': >"$unfinished"',
        "apt install",
        '"modules --mode=final"',
        "is-active llm-endpoint.target",
        'rm -f "$unfinished"',
    ]
    places = [TEXT.index(words) for words in order]
    assert places == sorted(places)
