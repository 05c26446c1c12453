"""The receipt of a notebook runtime's verification. Its JSON form is a contract."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.verify.receipt import Check, ReceiptStatus
from scripts.verify.shape import Json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Disk:
    """A folder of the runtime, in bytes of its file system; None where there is no such folder."""

    path: str
    free_bytes: int | None
    total_bytes: int | None

    @property
    def shown(self) -> str:
        """It in a few words."""
        if self.free_bytes is None or self.total_bytes is None:
            return f"{self.path} is not there"
        free, total = self.free_bytes / 1e9, self.total_bytes / 1e9
        return f"{self.path} has {free:.1f} of {total:.1f} GB free"

    def as_json(self) -> dict[str, Json]:
        """Return it as in the receipt."""
        return {
            "path": self.path,
            "free_bytes": self.free_bytes,
            "total_bytes": self.total_bytes,
        }


@dataclass(frozen=True)
class RuntimeReceipt:
    """The result of one verification.

    `url` is what people open, but for the port and the token, `via` where was connected to.
    `server` is the notebook server's version, `python` its kernels'. Those and `disks` are empty
    where the checks did not get that far.
    """

    status: ReceiptStatus
    url: str
    via: str
    verified_at: str
    verified_from: str
    server: str | None
    python: str | None
    disks: tuple[Disk, ...]
    checks: tuple[Check, ...]

    @property
    def failed_check(self) -> Check | None:
        """The check that failed, if one did."""
        return next((check for check in self.checks if check.status == "failed"), None)

    def as_json(self) -> dict[str, Json]:
        """Return the receipt as JSON values, fields in their order."""
        return {
            "schema_version": SCHEMA_VERSION,
            "status": self.status,
            "url": self.url,
            "via": self.via,
            "verified_at": self.verified_at,
            "verified_from": self.verified_from,
            "server": self.server,
            "python": self.python,
            "disks": [disk.as_json() for disk in self.disks],
            "checks": [check.as_json() for check in self.checks],
        }
