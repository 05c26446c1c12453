"""A checkout that is prepared, with a `pulumi` that notes what it is asked and answers by rote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from scripts.bootstrap.backend import Backend
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.plugins import Plan
from scripts.bootstrap.pulumi_cli import Cli

_PULUMI = """\
#!/bin/sh
echo "$PULUMI_BACKEND_URL $*" >>"{log}"
case "$*" in
{cases}
esac
"""


@dataclass(frozen=True)
class Noted:
    ready: Prepared
    log: Path

    def asked(self) -> list[str]:
        """Return what pulumi was asked: the backend, then its arguments."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


def prepared(folder: Path, backend: Backend, answers: dict[str, str] | None = None) -> Noted:
    """Prepare a checkout in `folder`; `answers` are lines of shell by a pattern of arguments."""
    root = folder / "checkout"
    (root / "stacks").mkdir(parents=True)
    program, log = folder / "pulumi", folder / "asked"
    cases = "\n".join(f"{pattern}) {line} ;;" for pattern, line in (answers or {}).items())
    program.write_text(_PULUMI.format(log=log, cases=cases or "*) ;;"), encoding="utf-8")
    program.chmod(0o755)
    variables = {"PATH": "/usr/bin:/bin", "PULUMI_BACKEND_URL": backend.url}
    checkout = Checkout(root)
    cli = Cli(program, "3.210.0", "on PATH")
    return Noted(Prepared(checkout, Path("python"), cli, Plan("engine"), backend, variables), log)


def printing(value: object) -> str:
    """Return a line of shell that prints a value as JSON."""
    return f"cat <<'END'\n{json.dumps(value)}\nEND\n"
