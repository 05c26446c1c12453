"""The units of a machine: they refer to each other, are closed off, and go on after a failure."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rendering_machine import PLANS, rendered, texts, units, values

from components.rendering.machine.modules import MissingModuleError, closure
from machine.stage import stage_named
from machine.status import STAGES

LIB = "/opt/llm-endpoint/lib/"
OUR_UNIT = re.compile(r"llm-endpoint[a-z0-9.:%@-]*\.(?:service|timer|target|path|socket|slice)")
STAGE_UNITS = ("packages", "disk", "tools", "caddy", "engine", "gpu", "keys", "model")
CLOSED_OFF = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "Restart": "always",
}
FACING_REQUESTS = {
    "llm-endpoint-server-chat.service": {
        "CapabilityBoundingSet": "",
        "DynamicUser": "yes",
        "IPAddressDeny": "any",
        "IPAddressAllow": "localhost",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        "Slice": "llm-endpoint-engines.slice",
        "OOMScoreAdjust": "500",
    },
    "llm-endpoint-gateway.service": {
        "CapabilityBoundingSet": "",
        "DynamicUser": "yes",
        "IPAddressDeny": "any",
        "IPAddressAllow": "localhost",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        "OOMScoreAdjust": "-500",
    },
    "llm-endpoint-caddy-run.service": {
        "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
        "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
        "User": "llm-gateway",
        "IPAddressDeny": "169.254.169.254",
        "OOMScoreAdjust": "-500",
    },
}

every_plan = pytest.mark.parametrize("name", PLANS)


@pytest.mark.parametrize("unit", FACING_REQUESTS)
def test_what_faces_requests_is_closed_off(unit: str):
    text = units(rendered("plain"))[unit]
    for key, value in {**CLOSED_OFF, **FACING_REQUESTS[unit]}.items():
        assert values(text, key) == [value], key


@every_plan
def test_every_unit_that_is_named_is_there(name: str):
    known = units(rendered(name))
    for unit, text in known.items():
        without_comments = re.sub(r"^#.*", "", text, flags=re.MULTILINE)
        for named in OUR_UNIT.findall(without_comments):
            template = re.sub(r"@[^@]*\.service$", "@.service", named)
            assert template in known, f"{unit} names {named}"


@every_plan
def test_every_module_that_a_unit_starts_is_on_the_machine(name: str):
    placed = texts(rendered(name))
    for unit, text in units(rendered(name)).items():
        for line in values(text, "ExecStart"):
            for module in re.findall(r"-m ((?:machine|scripts)[\w.]*)", line):
                path = LIB + module.replace(".", "/")
                assert {f"{path}.py", f"{path}/__main__.py"} & set(placed), f"{unit}: {module}"


def test_every_stage_that_is_a_program_has_a_unit():
    machine = units(rendered("gpus"))
    assert set(STAGE_UNITS) == {stage for stage in STAGES if stage_named(stage) is not None}
    for stage in STAGE_UNITS:
        (command,) = values(machine[f"llm-endpoint-{stage}.service"], "ExecStart")
        assert command.endswith(f" -m machine.stage {stage}")
        wanted = values(machine["llm-endpoint.target"], "Wants")
        assert f"llm-endpoint-{stage}.service" in wanted


@every_plan
def test_a_stage_that_is_done_starts_again_whatever_waits_for_it(name: str):
    # systemd 252 cancels what requires a oneshot whose first try failed, also if it is restarted.
    machine = units(rendered(name))
    for unit, text in machine.items():
        for required in " ".join(values(text, "Requires")).split():
            stage = required.removeprefix("llm-endpoint-").removesuffix(".service")
            if stage not in STAGE_UNITS or unit == "llm-endpoint-keys-refresh.service":
                continue
            started = set(" ".join(values(machine[required], "ExecStartPost")).split())
            servers = set(values(machine["llm-endpoint-servers.target"], "Wants"))
            if "llm-endpoint-servers.target" in started:
                started |= servers
            disk_of_acme = unit == "llm-endpoint-caddy-run.service" and stage == "disk"
            # The stage caddy, which it requires too, comes after the disk.
            assert unit in started or disk_of_acme, f"{required} does not start {unit}"


@every_plan
def test_whatever_is_required_comes_first(name: str):
    for unit, text in units(rendered(name)).items():
        after = set(" ".join(values(text, "After")).split())
        assert set(" ".join(values(text, "Requires")).split()) <= after, unit


@pytest.mark.parametrize("stage", STAGE_UNITS)
def test_a_stage_tries_again_unless_it_says_that_nothing_will_change(stage: str):
    text = units(rendered("gpus"))[f"llm-endpoint-{stage}.service"]
    assert values(text, "Restart") == ["on-failure"]
    assert values(text, "RestartPreventExitStatus") == ["78"]
    assert values(text, "StartLimitIntervalSec") == ["0"]
    assert values(text, "TimeoutStartSec") == ["infinity"]
    assert values(text, "OnFailure") == [f"llm-endpoint-report@{stage}:%n.service"]


def test_the_disk_is_mounted_for_everyone():
    text = units(rendered("plain"))["llm-endpoint-disk.service"]
    made = re.findall(r"^(?:Protect|Private|ReadOnly|ReadWrite|Inaccessible)\w*=", text, re.M)
    assert not made, "a namespace of mounts would keep the disk to itself"


def test_every_stage_comes_after_the_metadata_server_is_roots_alone():
    machine = units(rendered("plain"))
    assert (
        "llm-endpoint-metadata.service"
        in values(machine["llm-endpoint-packages.service"], "Requires")[0].split()
    )
    text = machine["llm-endpoint-metadata.service"]
    (begun,), (ended,) = values(text, "ExecStart"), values(text, "ExecStop")
    assert ended == begun.replace("rule add", "rule del")
    assert "to 169.254.169.254 ipproto 6 dport 80 uidrange 1-4294967294 " in begun
    assert begun.endswith(" prohibit")


def test_a_boot_does_not_wait_for_the_model():
    machine = units(rendered("plain"))
    assert values(machine["llm-endpoint.target"], "DefaultDependencies") == ["no"]
    assert "llm-endpoint.target" in values(machine["multi-user.target"], "Wants")
    for unit, text in machine.items():
        assert "multi-user.target" not in " ".join(values(text, "After")), unit


def test_acme_keeps_certificates_on_the_disk_and_own_ca_keeps_nothing():
    acme = units(rendered("full"))["llm-endpoint-caddy-run.service"]
    own = units(rendered("plain"))["llm-endpoint-caddy-run.service"]
    assert values(acme, "ReadWritePaths") == ["/var/lib/llm-endpoint/caddy"]
    assert "LLM_ENDPOINT_BODY_BYTES=1000" in values(acme, "Environment")
    assert not values(acme, "LoadCredential")
    assert len(values(own, "LoadCredential")) == 2
    assert values(own, "RuntimeDirectoryMode") == ["0700"]
    assert not values(own, "ReadWritePaths")


def test_the_reporter_is_told_stage_and_unit():
    line = values(units(rendered("plain"))["llm-endpoint-report@.service"], "ExecStart")[0]
    shell = line.removeprefix("/bin/sh -c ").removesuffix(" %i").strip("'")
    shell = shell.replace("$$", "$").replace("%%", "%").replace("exec /usr/bin/python3", "echo")
    said = subprocess.run(
        ["/bin/sh", "-c", shell, "server:llm-endpoint-server-chat.service"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "-m machine.report llm-endpoint-server-chat.service server\n"


@every_plan
def test_systemd_takes_every_unit(name: str, tmp_path: Path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed here (Debian: systemd)")
    folder = "/etc/systemd/system/"
    for path, text in texts(rendered(name)).items():
        if path.startswith(folder):
            file = tmp_path / path.removeprefix(folder)
            file.parent.mkdir(exist_ok=True)
            # Programs that the stages install are not on this machine.
            file.write_text(
                re.sub(r"(=[+-]?)(?:/opt/llm-endpoint/|/usr/bin/docker)\S*", r"\1/bin/true", text)
            )
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    checked = subprocess.run(
        [analyze, "verify", "--man=no", *(str(f) for f in tmp_path.iterdir() if f.is_file())],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in checked.stderr.splitlines() if "llm-endpoint" in line]
    assert not said
    assert checked.returncode == 0, checked.stderr


def test_what_is_on_a_machine_imports_there_and_nothing_else_is_needed(tmp_path: Path):
    modules = {p.removeprefix(LIB): t for p, t in texts(rendered("plain")).items() if LIB in p}
    for path, text in modules.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    named = sorted(
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in modules
        if not path.endswith("__main__.py")
    )
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1]); "
        "[importlib.import_module(name) for name in sys.argv[2:]]; "
        "ours = [m for n, m in sys.modules.items() "
        "if n.split('.')[0] in ('machine', 'scripts', 'components', 'stacks')]; "
        "print({m.__file__ for m in ours if not m.__file__.startswith(sys.argv[1])}); "
        "print([n for n in sys.modules if n in ('pulumi', 'pydantic', 'numpy', 'gguf')])"
    )
    seen = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, str(tmp_path), *named],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.split("\n")[:2] == ["set()", "[]"]


def test_the_stand_in_model_stays_here():
    names = closure(["scripts.serve.wheel_server"])
    assert "scripts/models/ensure.py" in names
    assert "scripts/serve/wheel_server.py" in names
    assert not [name for name in names if "stand_in" in name or "stacks" in name]


def test_an_imports_own_imports_come_along():
    assert "components/engines/llama_cpp_flags.py" in closure(["scripts.serve.wheel_server"])
    assert "components/engines/llama_cpp_flags.py" not in closure([])


@pytest.mark.parametrize("name", ["machine.nothing", "requests", "stacks.local"])
def test_a_module_that_is_none_of_ours_is_refused(name: str):
    with pytest.raises(MissingModuleError, match=name):
        closure([name])
