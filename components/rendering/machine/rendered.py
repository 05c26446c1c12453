"""What the renderer makes of a plan."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class MachineFile:
    """One file on the machine: absolute path, text, and octal mode such as `0644`. Owner root."""

    path: str
    content: str
    mode: str = "0644"


@dataclass(frozen=True)
class RenderedMachine:
    """Everything that is handed to a machine.

    `user_data` is cloud-config, which holds all of `files`. `startup_script` is for images whose
    first boot runs a script and knows no cloud-init: it installs cloud-init, and hands it the same
    user-data.
    """

    files: tuple[MachineFile, ...]
    user_data: str
    startup_script: str

    def digest(self) -> str:
        """Sha256 of all that decides what the machine becomes, as 64 hex digits."""
        text = "\0".join((self.user_data, self.startup_script))
        return hashlib.sha256(text.encode()).hexdigest()
