"""The one place from which verification writes: nothing gets out before it is scrubbed."""

from __future__ import annotations

import json
import sys
from typing import TextIO

from scripts.verify.receipt import Check, Receipt
from scripts.verify.scrub import Scrubber
from scripts.verify.shape import Json


class Output:
    """Progress and trouble on stderr, the receipt on stdout, both without the secrets."""

    def __init__(
        self,
        scrubber: Scrubber,
        *,
        quiet: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self._scrubber = scrubber
        self._quiet = quiet
        self._stdout = sys.stdout if stdout is None else stdout
        self._stderr = sys.stderr if stderr is None else stderr

    def scrubbed(self, receipt: Receipt) -> Receipt:
        """Return `receipt` without the secrets."""
        return Receipt.from_json(self._scrubber.tree(receipt.as_json()))

    def progress(self, line: str) -> None:
        """Say how it goes, unless quiet."""
        if not self._quiet:
            self.trouble(line)

    def trouble(self, text: str) -> None:
        """Say what is wrong, quiet or not."""
        self._stderr.write(self._scrubber.text(text) + "\n")
        self._stderr.flush()

    def check(self, check: Check) -> None:
        """Say how one check ended."""
        match check.status:
            case "passed":
                self.progress(f"{check.name} … ok {check.seconds:.2f} s ({check.seen})")
            case "skipped":
                self.progress(f"{check.name} … skipped: {check.reason}")
            case "failed":
                self.trouble(f"{check.name} … FAILED after {check.seconds:.2f} s")
                self.trouble(f"  expected: {check.expected}")
                self.trouble(f"  seen:     {check.seen}")
                self.trouble(f"  next:     {check.next_step}")
                for line in check.log_tail:
                    self.trouble(f"  log | {line}")

    def receipt(self, receipt: Receipt, *, indent: int | None) -> None:
        """Write the receipt as JSON."""
        self._write(self.scrubbed(receipt).dumps(indent))

    def json(self, value: Json, *, indent: int | None) -> None:
        """Write a value as JSON, without the secrets."""
        self._write(json.dumps(self._scrubber.tree(value), indent=indent, allow_nan=False))

    def _write(self, text: str) -> None:
        self._stdout.write(f"{text}\n")
        self._stdout.flush()
