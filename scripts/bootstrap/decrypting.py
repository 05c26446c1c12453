"""Whether a stack's state can be decrypted here: asked before anything is written with it."""

from __future__ import annotations

import re

from scripts.bootstrap import stack
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared

IN_PLAIN = ("stack", "export", "--show-secrets")
"""The engine's words for a state with its secrets decrypted, which go nowhere from here."""

# A secret's mark, as in sdk/go/common/resource/sig/sig.go of pulumi v3.210.0, and its value.
_SECRET = re.compile(
    r'"4dabf18193072939515e22adb298388d":\s*"1b47061264138c4ac30d75fd1eb44270",'
    r'\s*"plaintext":\s*"((?:[^"\\]|\\.)*)"'
)


def refuse_another_passphrase(ready: Prepared, name: str) -> None:
    """Raise `BootstrapError` where the state was encrypted with a passphrase that is not at hand.

    The engine would go on with nothing in each secret's place, and write that. Where the state
    can't be had at all, what comes next says why.
    """
    done = stack.run(ready.checkout, ready.cli, ready.variables, [*IN_PLAIN, "--stack", name])
    complaint = complaint_of(done.stdout) if done.returncode == 0 else None
    if complaint is not None:
        raise BootstrapError(
            f"pulumi can't read {name} in {ready.backend.shown}: {complaint}",
            f"get that one into {ready.checkout.state / 'passphrase'}, or name its file by "
            "PULUMI_CONFIG_PASSPHRASE_FILE; the stack's own file belongs to it too",
        )


def complaint_of(state: str) -> str | None:
    """Return what is wrong with a state in which each secret is null; None with any other.

    So the engine (3.210) shows secrets, with status 0, for a passphrase that is not theirs.
    """
    found = set(_SECRET.findall(state))
    return "its secrets were encrypted with another passphrase" if found == {"null"} else None
