"""Where a machine's secrets are to be found: on its disks, in its processes, in what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psutil

from guest.deployment import Deployment


def needles(served: Deployment) -> list[str]:
    """Return every text that is secret on the machine."""
    # Of a key in PEM, every line by itself.
    lines = served.authority_key.splitlines()
    private = [line for line in lines if not line.startswith("---")]
    return [*served.every_key, served.cloud.google.token, *private]


def assert_secrets_are_only_where_they_are_needed(served: Deployment) -> None:
    """Look through files, journal, console, metadata, and every process's words and variables."""
    machine, leader = served.machine, served.machine.leader()
    secret = needles(served)
    patterns = served.cloud.folder / "needles"
    patterns.write_text("\n".join(secret))

    def holds(text: str) -> bool:
        return any(needle in text for needle in secret)

    skipped = [f"--exclude-dir={name}" for name in ("proc", "sys", "dev")]
    done = subprocess.run(
        ["grep", "-rlaF", "-D", "skip", "-f", patterns, *skipped, f"/proc/{leader}/root/"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line.removeprefix(f"/proc/{leader}/root/") for line in done.stdout.splitlines()}
    # The first is root's; the second is what systemd hands of it to Caddy, and to nobody else.
    handed = re.compile(r"run/credentials/llm-endpoint-caddy-run\.service/key\.pem")
    assert "run/llm-endpoint/ca/key.pem" in found, "the search finds what is there"
    assert {name for name in found if not handed.fullmatch(name)} == {"run/llm-endpoint/ca/key.pem"}
    assert machine.good("stat", "--format=%U %a", "/run/llm-endpoint/ca").split() == ["root", "700"]

    assert not holds(machine.text())
    assert not holds(machine.good("journalctl", "--output=export", "--all", seconds=120))
    assert not any(holds(text) for text in served.cloud.google.attributes.values())
    processes = [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]
    for process in processes:
        for name in ("cmdline", "environ"):
            try:
                seen = Path(f"/proc/{process.pid}/{name}").read_text(errors="replace")
            except OSError:
                continue
            assert not holds(seen), f"{name} of {process}"
