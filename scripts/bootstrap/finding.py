"""What scripts/doctor says of each thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, worth a `note`, or a `problem` with what to `type`."""

    verdict: Literal["ok", "note", "problem"]
    text: str
    type: str = ""

    def __str__(self) -> str:
        indent = f"\n{'':9}"
        text = self.text.replace("\n", indent)
        line = f"{self.verdict + ':':9}{text}"
        what = self.type.replace("\n", indent)
        return f"{line}{indent}type: {what}" if what else line
