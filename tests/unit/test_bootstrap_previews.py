"""scripts/preview: what it asks of the engine, when it asks none, and what it hands on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fake_machine import CHECKOUT, Machine, lines, make_machine, write_program

from scripts.backend import held
from scripts.backend.held import Move
from scripts.backend.objects import Folder
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.previews import Asked, UsageError, parse, preview

SECRET = "token-in-the-state"

# Of `scripts.changes` it is seen here what it is started with; its own tests say what it does.
FAKE_CHANGES = """
import json, os, pathlib, sys
words = sys.argv[1:]
seen = {"words": words, "secrets": json.load(sys.stdin)}
for name in ("--events", "--failed"):
    if name in words:
        seen[name] = pathlib.Path(words[words.index(name) + 1]).read_text()
pathlib.Path(os.environ["CHANGES_CALLS"]).write_text(json.dumps(seen))
print("### the Markdown")
sys.exit(int(os.environ.get("CHANGES_STATUS", "0")))
"""
FAKE_PULUMI = """#!/bin/sh
printf '%s\\n' "$*" >> "{calls}"
case "$1 $2" in
    "version ") echo v3.250.0 ;;
    "stack export") cat "{export}" ;;
    "config --json") echo '{{}}' ;;
    preview*)
        for log; do :; done
        [ "$PULUMI_DEBUG_COMMANDS" = true ] && echo '{{"sequence": 0}}' > "$log"
        echo "progress of pulumi${{QUOTED-}}"
        echo "words of pulumi${{QUOTED-}}" >&2
        exit "${{PREVIEW_STATUS:-0}}" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = make_machine(tmp_path)
    shutil.copy(CHECKOUT / "scripts" / "preview", made.root / "scripts")
    shutil.copytree(CHECKOUT / "scripts" / "changes", made.root / "scripts" / "changes")
    for name in ("scrub.py", "shape.py"):
        shutil.copy(CHECKOUT / "scripts" / "verify" / name, made.root / "scripts" / "verify")
    for name in ("scripts/backend", "policy", "components"):
        if not (made.root / name).exists():
            (made.root / name).symlink_to(CHECKOUT / name)
    (made.root / "scripts" / "changes" / "__main__.py").write_text(FAKE_CHANGES, encoding="utf-8")
    calls, export = made.other / "pulumi-calls", made.other / "export.json"
    text = FAKE_PULUMI.format(calls=calls, export=export)
    write_program(made.other / "bin" / "pulumi", text)
    secret = {
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        "plaintext": json.dumps(SECRET),
    }
    made.put_resources({"urn": "u", "outputs": {"token": secret}})
    return made


def run(machine: Machine, *arguments: str, **variables: str):
    calls = str(machine.other / "changes")
    done = machine.run("scripts/preview", *arguments, CHANGES_CALLS=calls, **variables)
    seen = [json.loads(line) for line in lines(machine.other / "changes")]
    return done, seen[0] if seen else {}


def test_the_engine_is_asked_and_its_log_and_the_secrets_to_hide_are_handed_on(machine: Machine):
    machine.put_stack("local")
    done, seen = run(machine, "--no-policy", "--target", "urn", "--base", "main")
    assert done.returncode == 0, done.stderr
    (asked,) = [call for call in machine.pulumi_calls if call.startswith("preview")]
    assert "--non-interactive --stack local --target urn --event-log " in asked
    assert seen["words"][:3] == ["logged", "local", "--events"]
    assert seen["words"][-2:] == ["--base", "main"]
    assert json.loads(seen["--events"]) == {"sequence": 0}
    assert seen["secrets"] == [SECRET]
    assert SECRET not in done.stdout + done.stderr
    # The Markdown alone goes to stdout.
    assert done.stdout == "### the Markdown\n"
    assert "progress of pulumi" in done.stderr


def test_what_pulumi_said_at_last_is_handed_on_and_the_exit_status_is_the_markdowns(
    machine: Machine,
):
    machine.put_stack("local")
    words = ("--no-policy", "--expect-no-changes")
    done, seen = run(machine, *words, PREVIEW_STATUS="255", CHANGES_STATUS="3")
    assert "--expect-no-changes" in seen["words"]
    assert seen["--failed"] == "words of pulumi\n"
    assert done.returncode == 3


def test_a_secret_that_pulumi_quotes_is_in_no_log(machine: Machine):
    machine.put_stack("local")
    done, _ = run(machine, "--no-policy", PREVIEW_STATUS="255", QUOTED=f" and {SECRET}")
    assert SECRET not in done.stdout + done.stderr
    assert "progress of pulumi and [key]\n" in done.stderr
    assert "words of pulumi and [key]\n" in done.stderr


def test_a_stack_that_is_not_there_is_mocked_and_never_made(machine: Machine):
    machine.put_stack("another")
    done, seen = run(machine, "local", "--base", "main")
    assert done.returncode == 0, done.stderr
    assert machine.pulumi_calls == []
    assert seen["words"][:3] == ["mocked", "local", "--because"]
    assert "has no stack local yet" in seen["words"][3]
    assert not (machine.backend / ".pulumi" / "stacks" / "llm-endpoint" / "local.json").exists()


def test_an_old_copy_of_a_state_that_has_moved_is_not_taken_for_the_stack(machine: Machine):
    machine.put_stack("local")
    move = Move("gs://states", "moved")
    held.write_move(Folder(machine.backend), "local", move, 0, only_new=True)
    done, seen = run(machine, "--no-policy", "--expect-no-changes")
    assert done.returncode == 1
    assert "it has been moved to gs://states" in done.stderr
    assert seen == {}


def test_a_mocked_preview_asks_no_engine_although_there_is_one(machine: Machine):
    machine.put_stack("local")
    out = machine.other / "out.md"
    _, seen = run(machine, "--mocked", "--no-policy", "--out", str(out))
    assert machine.pulumi_calls == []
    assert seen["words"][0] == "mocked"
    assert seen["words"][-3:] == ["--secrets-on-stdin", "--out", str(out)]
    assert "--no-policy" in seen["words"]


def test_mocks_cannot_tell_of_drift(tmp_path: Path):
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "cpu_vm.yaml").touch()
    here = Checkout(tmp_path)
    with pytest.raises(BootstrapError, match="can't be told by mocks"):
        preview(here, ["cpu-vm", "--expect-no-changes"], {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--base"], "--base takes a value"),
        (["--out", "--mocked"], "--out takes a value"),
        (["local", "gpu-vm"], "'gpu-vm' comes after the stack local"),
        (["--config", "a=b"], "it would be saved"),
        (["-c=a=b"], "it would be saved"),
        (["-ca=b"], "it would be saved"),
        (["--show-secrets"], "a preview is made to be shown"),
        (["--json"], "event log"),
        (["--mocked", "--refresh=false"], "--refresh=false is pulumi's"),
        (["a b"], "no stack's name"),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(arguments: list[str], named: str):
    with pytest.raises(UsageError, match=named.replace("(", "\\(")):
        parse(arguments)


def test_a_wrong_command_line_ends_with_2_and_the_usage(tmp_path: Path, capsys):
    assert preview(Checkout(tmp_path), ["--base"], {}) == 2
    assert "usage: scripts/preview" in capsys.readouterr().err


def test_options_stand_before_and_after_the_stack():
    for words in (["--base", "main", "dev", "--refresh"], ["dev", "--refresh", "--base=main"]):
        assert parse(words) == Asked("dev", base="main", rest=("--refresh",))
