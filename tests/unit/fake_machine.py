"""A machine on which scripts/up and its like run: a checkout, and programs that only seem."""

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bootstrap.virtual_environment import EVERYTHING, LOCAL, STAMP, Stamp, fingerprint

CHECKOUT = Path(__file__).resolve().parents[2]
COPIED = ("scripts/launcher", "scripts/up", "scripts/down", "scripts/pulumi", "scripts/doctor")
KEY = "sk-not-to-be-seen"
URL = "http://127.0.0.1:1"

FAKE_PULUMI = """#!/bin/sh
printf '%s\\n' "$*" >> "{calls}"
case "$1 $2" in
    "version ") echo v3.250.0 ;;
    "up --yes") exit "${{UP_STATUS:-0}}" ;;
    "stack output") cat "{outputs}" ;;
    "stack export") cat "{export}" ;;
    "stack init") touch "{state}/.pulumi/stacks/llm-endpoint/$3.json" ;;
    "cancel --yes") rm -r "{state}/.pulumi/locks" ;;
    "env "*) env ;;
esac
"""

FAKE_PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >> "{calls}"
exec "{python}" "$@"
"""

FAKE_CLOUD_DOCTOR = """
import sys
print("problem: of the cloud, for", sys.argv[1])
sys.exit(1)
"""

FAKE_VERIFY = """
import json, os, sys
with open(os.environ["VERIFY_CALLS"], "a") as calls:
    print(json.dumps([sys.argv[1:], os.environ["LLM_ENDPOINT_KEY"]]), file=calls)
if "--via" in sys.argv:
    print("cluster:", os.environ["LLM_ENDPOINT_CLUSTER"], file=sys.stderr)
if os.environ.get("VERIFY_STATUS"):
    print("chat: nothing came", file=sys.stderr)
sys.exit(int(os.environ.get("VERIFY_STATUS", "0")))
"""


@dataclass(frozen=True)
class Machine:
    """A checkout that is set up, in a folder with a difficult name, and a bare environment."""

    root: Path
    other: Path

    @property
    def backend(self) -> Path:
        return self.root / ".state" / "backend"

    @property
    def pulumi_calls(self) -> list[str]:
        return lines(self.other / "pulumi-calls")

    @property
    def python_calls(self) -> list[str]:
        return lines(self.other / "python-calls")

    @property
    def verifications(self) -> list[tuple[list[str], str]]:
        return [tuple(json.loads(line)) for line in lines(self.other / "verify-calls")]

    def put_outputs(self, **outputs: object) -> None:
        text = json.dumps({"state": "serving", "api_key": KEY, **outputs})
        (self.other / "outputs.json").write_text(text, encoding="utf-8")

    def put_resources(self, *resources: dict[str, object]) -> None:
        text = json.dumps({"version": 3, "deployment": {"resources": resources}})
        (self.other / "export.json").write_text(text, encoding="utf-8")

    def put_stack(self, name: str) -> None:
        folder = self.backend / ".pulumi" / "stacks" / "llm-endpoint"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").touch()

    def put_lock(self, pid: int) -> None:
        folder = self.backend / ".pulumi" / "locks" / "organization" / "llm-endpoint" / "local"
        folder.mkdir(parents=True)
        lock = {"pid": pid, "username": "ann", "hostname": socket.gethostname(), "timestamp": "T.1"}
        (folder / "1.json").write_text(json.dumps(lock), encoding="utf-8")

    def run(
        self, *command: str, folder: Path | None = None, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        for name in ("pulumi-calls", "python-calls", "verify-calls"):
            (self.other / name).unlink(missing_ok=True)
        return subprocess.run(
            [self.root / command[0], *command[1:]],
            cwd=folder or self.root,
            env={
                "HOME": str(self.other / "home"),
                "PATH": f"{self.other / 'bin'}:/usr/bin:/bin",
                "LLM_ENDPOINT_CACHE": str(self.other / "cache"),
                "VERIFY_CALLS": str(self.other / "verify-calls"),
                # Nothing outside of this machine is asked.
                "HTTPS_PROXY": "http://127.0.0.1:1",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def write_program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)


def make_machine(folder: Path) -> Machine:
    """Return a machine whose checkout is set up already, below `folder`."""
    machine = Machine(folder / "ä check 'out'", folder / "other")
    root, other = machine.root, machine.other
    (other / "home").mkdir(parents=True)
    (root / "scripts").mkdir(parents=True)
    for name in COPIED:
        shutil.copy(CHECKOUT / name, root / name)
    for part in ("scripts/bootstrap", "scripts/backend", "components/models"):
        shutil.copytree(CHECKOUT / part, root / part)
    (root / "scripts" / "__init__.py").touch()
    write_program(root / "scripts" / "verify" / "__main__.py", FAKE_VERIFY)
    write_program(root / "scripts" / "gcp" / "doctor.py", FAKE_CLOUD_DOCTOR)
    write_program(
        root / "scripts" / "models" / "ensure.py",
        'import os\ndef hub_answers(): return "HUB" in os.environ\n',
    )
    shutil.copy(CHECKOUT / "pins.toml", root)
    for name in (LOCAL, EVERYTHING):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    for program in ("local", "cpu_vm"):
        write_program(root / "stacks" / f"{program}.yaml", "")

    venv = root / ".venv"
    write_program(
        venv / "bin" / "python",
        FAKE_PYTHON.format(calls=other / "python-calls", python=sys.executable),
    )
    package = venv / "lib" / "python3" / "site-packages" / "pulumi_command"
    package.mkdir(parents=True)
    about = {"resource": True, "name": "command", "version": "1.2.1"}
    (package / "pulumi-plugin.json").write_text(json.dumps(about), encoding="utf-8")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    installed = {LOCAL: empty, EVERYTHING: empty}
    stamp = Stamp(str(venv), "3.11", fingerprint(venv / "bin" / "python") or "", installed)
    (venv / STAMP).write_text(json.dumps(asdict(stamp)), encoding="utf-8")

    write_program(
        other / "bin" / "pulumi",
        FAKE_PULUMI.format(
            calls=other / "pulumi-calls",
            outputs=other / "outputs.json",
            export=other / "export.json",
            state=machine.backend,
        ),
    )
    write_program(other / "bin" / "pulumi-language-python", "")
    plugin = other / "home" / ".pulumi" / "plugins" / "resource-command-v1.2.1"
    write_program(plugin / "pulumi-resource-command", "")
    machine.put_outputs(state="parked")
    machine.put_resources()
    return machine
