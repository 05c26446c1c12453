"""scripts/up writes down what it looked up, and what it tells pulumi and its own flag."""

import json
from pathlib import Path

import pytest
from fake_machine import Machine, make_machine, write_program

RESOLVE = """
import json, os, sys
with open({calls!r}, "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
print("note: of the cloud", file=sys.stderr)
print(json.dumps({found!r}))
sys.exit({status})
"""
INSTANCE = "gcp:compute/instance:Instance"
NAMED = {"container_image": "ghcr.io/o/x:1@sha256:aa", "image": "projects/p/global/images/i"}


class Resolver:
    """A machine on which `scripts.resolve` finds what the test says."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._calls = machine.other / "resolve-calls"
        machine.put_stack("gpu-vm")
        machine.put_stack("cpu-vm")
        write_program(machine.root / "stacks" / "gpu_vm.yaml", "")
        self.finds({})

    def finds(self, found: dict[str, str], status: int = 0) -> None:
        text = RESOLVE.format(calls=str(self._calls), found=found, status=status)
        write_program(self.machine.root / "scripts" / "resolve" / "__main__.py", text)

    @property
    def calls(self) -> list[list[str]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    return Resolver(make_machine(tmp_path))


def written(machine: Machine) -> list[str]:
    return [call for call in machine.pulumi_calls if call.startswith("config set-all")]


def test_what_was_looked_up_is_written_down_before_pulumi_runs(resolver: Resolver):
    resolver.finds(NAMED)
    up = resolver.machine.run("scripts/up", "gpu-vm")
    assert up.returncode == 0, up.stderr
    (call,) = written(resolver.machine)
    for key, value in NAMED.items():
        assert f"--plaintext llm-endpoint:{key}={value}" in call
        assert f"    {key}: {value}\n" in up.stderr
    assert "WRITTEN to the configuration of gpu-vm" in up.stderr
    calls = [word.split()[0] for word in resolver.machine.pulumi_calls]
    assert calls.index("config") < calls.index("up")


def test_where_there_is_nothing_to_write_nothing_is_written(resolver: Resolver):
    up = resolver.machine.run("scripts/up", "gpu-vm")
    assert up.returncode == 0, up.stderr
    assert resolver.calls == [["gpu-vm"]]
    assert written(resolver.machine) == []
    assert "WRITTEN" not in up.stderr


def test_a_stack_with_a_machine_says_so(resolver: Resolver):
    resolver.machine.put_resources({"urn": f"urn:pulumi:s::p::{INSTANCE}::i", "type": INSTANCE})
    assert resolver.machine.run("scripts/up", "gpu-vm").returncode == 0
    assert resolver.calls == [["gpu-vm", "--has-machine"]]


def test_what_is_needed_and_can_t_be_had_ends_up_before_pulumi_runs(resolver: Resolver):
    resolver.finds(NAMED, status=1)
    up = resolver.machine.run("scripts/up", "gpu-vm")
    assert up.returncode == 1
    assert "note: of the cloud" in up.stderr
    assert not any(call.startswith(("up", "config")) for call in resolver.machine.pulumi_calls)


def test_programs_without_containers_look_nothing_up(resolver: Resolver):
    assert resolver.machine.run("scripts/up", "cpu-vm").returncode == 0
    assert resolver.calls == []


def variables(machine: Machine, *command: str) -> list[str]:
    """Return the environment that pulumi gets, as the fake one prints it."""
    program = machine.other / "bin" / "pulumi"
    text = program.read_text(encoding="utf-8")
    program.write_text(text.replace('"up --yes")', '"up --yes") env;'), encoding="utf-8")
    return machine.run(*command).stdout.splitlines()


def test_the_program_is_told_that_up_sees_to_a_lack_of_room(resolver: Resolver):
    given = variables(resolver.machine, "scripts/up", "cpu-vm")
    assert "LLM_ENDPOINT_UP=1" in given
    assert "PULUMI_DEBUG_COMMANDS=true" in given
    (call,) = [call for call in resolver.machine.pulumi_calls if call.startswith("up ")]
    assert "--event-log" in call


def test_pulumi_of_a_local_stack_is_run_as_it_is(resolver: Resolver):
    resolver.machine.put_stack("local")
    given = variables(resolver.machine, "scripts/up")
    assert not any(line.startswith("PULUMI_DEBUG_COMMANDS") for line in given)
    (call,) = [call for call in resolver.machine.pulumi_calls if call.startswith("up ")]
    assert "--event-log" not in call


@pytest.mark.parametrize("command", [("scripts/up",), ("scripts/down", "cpu-vm")])
def test_move_cache_is_refused_where_no_machine_moves(resolver: Resolver, command: tuple[str, ...]):
    done = resolver.machine.run(*command, "--move-cache")
    assert done.returncode == 1
    assert "--move-cache is for scripts/up of a machine in a cloud" in done.stderr
    assert "next: leave it out" in done.stderr
    assert not any(call.startswith(("up", "destroy")) for call in resolver.machine.pulumi_calls)


def configured(machine: Machine, **values: str) -> None:
    """Let the fake pulumi print a configuration."""
    found = {key.replace("__", ":"): {"value": value} for key, value in values.items()}
    (machine.other / "config.json").write_text(json.dumps(found), encoding="utf-8")
    program = machine.other / "bin" / "pulumi"
    text = program.read_text(encoding="utf-8")
    case = f'"config --json") cat "{machine.other}/config.json" ;;\n    "up --yes")'
    program.write_text(text.replace('"up --yes")', case), encoding="utf-8")


def test_move_cache_is_refused_for_a_stack_without_other_zones(resolver: Resolver):
    configured(resolver.machine, gcp__zone="europe-west4-a")
    up = resolver.machine.run("scripts/up", "cpu-vm", "--move-cache")
    assert up.returncode == 1
    assert "names none beside europe-west4-a" in up.stderr
    assert not any(call.startswith("up") for call in resolver.machine.pulumi_calls)


def test_move_cache_is_no_argument_of_pulumi_s(resolver: Resolver):
    zones = {"llm-endpoint__zones": "europe-west4-b"}
    configured(resolver.machine, gcp__zone="europe-west4-a", **zones)
    up = resolver.machine.run("scripts/up", "cpu-vm", "--move-cache", "--diff")
    assert up.returncode == 0, up.stderr
    (call,) = [call for call in resolver.machine.pulumi_calls if call.startswith("up ")]
    assert "--diff" in call
    assert "--move-cache" not in call
