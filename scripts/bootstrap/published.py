"""The published Pulumi CLI: fetched, checked against its publisher's list, put in the cache."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from scripts.bootstrap import pins
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.downloads import Unreachable, fetch_file, fetch_text
from scripts.bootstrap.places import (
    make_folder,
    read_object,
    release_platform,
    write_object,
)
from scripts.bootstrap.processes import one_at_a_time
from scripts.bootstrap.staging import staged

ASK_AGAIN_SECONDS = 24 * 3600.0
_UNREACHABLE = "releases-unreachable.json"


@dataclass
class Releases:
    """What Pulumi's releases answer; asked at most once a run.

    `cache` remembers across runs when they could not be reached.
    """

    pin: pins.ReleasePin
    cache: Path
    _answer: tuple[str, Mapping[str, str]] | Unreachable | None = field(default=None, init=False)

    def checksums(self) -> tuple[str, Mapping[str, str]]:
        """Return the source that answers and the sha256 of each file that it lists.

        Raises `Unreachable`; the same again, without asking, in the rest of the run.
        """
        if self._answer is None:
            self._answer = self.ask()
            if isinstance(self._answer, Unreachable):
                self.remember(self._answer)
            else:
                (self.cache / _UNREACHABLE).unlink(missing_ok=True)
        if isinstance(self._answer, Unreachable):
            raise self._answer
        return self._answer

    @property
    def worth_asking(self) -> bool:
        """Whether the last failure, if any, is a day old, in this run or another."""
        failed_at = read_object(self.cache / _UNREACHABLE).get("at")
        if not isinstance(failed_at, int | float):
            return True
        return not 0 <= time.time() - failed_at < ASK_AGAIN_SECONDS

    def remember(self, unreachable: Unreachable) -> None:
        """Keep, for a day, that something could not be had."""
        memory = make_folder(self.cache) / _UNREACHABLE
        write_object(memory, {"at": time.time(), "why": str(unreachable)})

    def ask(self) -> tuple[str, Mapping[str, str]] | Unreachable:
        """Return what `checksums` does, or why not, asked now and not kept."""
        reasons: list[str] = []
        for source in self.pin.sources:
            try:
                return source, parse_checksums(fetch_text(source + self.pin.checksums))
            except Unreachable as unreachable:
                reasons.append(str(unreachable))
        return Unreachable("; ".join(reasons))


def parse_checksums(text: str, digits: int = 64) -> dict[str, str]:
    """Return the digest of each file in lines of `<digest>  <file>`. Raises `Unreachable`.

    `digits` is a digest's length in hex: 64 for sha256, 128 for sha512.

    Anything else is no list of checksums but, say, the page of a network that wants a login.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 2 or len(fields[0]) != digits or set(fields[0]) - set("0123456789abcdef"):
            raise Unreachable(f"no list of checksums came, but {line[:60]!r}")
        found[fields[1].removeprefix("*")] = fields[0]
    if not found:
        raise Unreachable("no list of checksums came, but nothing")
    return found


def folder(pin: pins.ReleasePin, cache: Path) -> Path:
    """Return where the published CLI of the pinned version is kept."""
    return cache / "pulumi" / pin.version


def install(releases: Releases) -> Path:
    """Return the folder of the published CLI's programs, fetched where it isn't there.

    Raises `Unreachable` where it can't be had, `BootstrapError` where what came is not what was
    pinned, locked or listed.
    """
    try:
        return _install(releases)
    except Unreachable as unreachable:
        releases.remember(unreachable)
        raise


def _install(releases: Releases) -> Path:
    pin, cache = releases.pin, releases.cache
    source, listed = releases.checksums()
    name = pin.archive.format(platform=release_platform())
    expected = listed.get(name)
    if expected is None:
        raise Unreachable(f"Pulumi {pin.version} is not published for {release_platform()}")
    pinned = pin.sha256.get(release_platform())
    if pinned and pinned != expected:
        raise BootstrapError(
            f"{name} is published with sha256 {expected} now, and pins.toml has {pinned}",
            "don't use it before its publisher explains the change",
        )
    target = folder(pin, cache)
    with one_at_a_time(make_folder(cache / "pulumi") / "lock", "installing Pulumi"):
        if target.is_dir():
            return target
        pins.hold(cache / pins.LOCK_NAME, name, expected)
        archive = make_folder(cache / "downloads") / name
        note(f"Fetching Pulumi {pin.version} from {source} …")
        came = fetch_file(source + name, archive)
        if came != expected:
            archive.unlink()
            raise BootstrapError(
                f"{name} came with sha256 {came}, and its publisher lists {expected}",
                "run the same again; if it stays so, something between here and "
                f"{source} changes what it sends",
            )
        with staged(target) as partial:
            _extract(archive, partial)
        archive.unlink()
    return target


def _extract(archive: Path, into: Path) -> None:
    """Extract the programs, which lie in one folder of the archive, and nothing else."""
    with tarfile.open(archive) as files:
        for member in files:
            path = PurePosixPath(member.name)
            content = files.extractfile(member) if member.isfile() else None
            if content is None or len(path.parts) != 2 or path.parts[0] != "pulumi":
                continue
            program = into / path.name
            with program.open("wb") as file:
                while chunk := content.read(1 << 20):
                    file.write(chunk)
            program.chmod(0o755)
    if not (into / "pulumi").is_file():
        raise BootstrapError(
            f"{archive.name} holds no pulumi/pulumi", "report it: its layout has changed"
        )
