"""The checkout's virtual environment: made once, remade when broken, left alone otherwise."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, cast

from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.places import Checkout, read_object, write_object
from scripts.bootstrap.processes import one_at_a_time, run_with_progress

LOCAL = "requirements/local.txt"
EVERYTHING = "requirements.txt"
TESTING = "requirements/test.txt"
POLICY = "requirements/policy.txt"

# scripts/launcher looks for the stamp too.
STAMP = ".llm-endpoint.json"
UNFINISHED = ".llm-endpoint.unfinished"


@dataclass(frozen=True)
class Purpose:
    """What a virtual environment is for: its folder in the checkout, and what it needs.

    Any one of the requirements files `accepted` is enough; the first is the one to install.
    """

    folder: str
    accepted: tuple[str, ...]


LOCAL_STACK = Purpose(".venv", (LOCAL, EVERYTHING))
ANY_STACK = Purpose(".venv", (EVERYTHING,))
TESTS = Purpose(".venv-test", (TESTING,))
POLICIES = Purpose(".venv-policy", (POLICY,))


@dataclass(frozen=True)
class Stamp:
    """What was put into a virtual environment.

    `interpreter` tells one Python program from another: its real path, size and time of change.
    `installed` maps a requirements file to the sha256 it had.
    """

    folder: str
    python: str
    interpreter: str
    installed: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Found:
    """What is at the virtual environment's place now. `python` is its version, `3.11`."""

    exists: bool
    unfinished: bool
    interpreter: str | None
    python: str | None
    stamp: Stamp | None


@dataclass(frozen=True)
class Plan:
    """`nothing` to do, requirements to `install`, or the whole to `make`; and why, if it shows."""

    step: Literal["nothing", "install", "make"]
    reason: str = ""


def plan(found: Found, folder: Path, wanted: Mapping[str, str], python: str | None) -> Plan:
    """Decide what the virtual environment in `folder` needs.

    `wanted` maps each requirements file that would do to its sha256: any one of them, installed
    as it is now, is enough. `python` is the version (`3.12`) that the person asks for, or None.
    """
    if not found.exists:
        return Plan("make")
    broken = _why_unusable(found, folder, python)
    if broken:
        return Plan("make", broken)
    stamp = found.stamp
    if (
        stamp is not None
        and stamp.interpreter == found.interpreter
        and any(stamp.installed.get(name) == digest for name, digest in wanted.items())
    ):
        return Plan("nothing")
    return Plan("install")


def _why_unusable(found: Found, folder: Path, python: str | None) -> str:
    if found.unfinished:
        return "its installation was interrupted"
    if found.interpreter is None or found.python is None:
        return "its Python is gone"
    return "" if found.stamp is None else _why_outdated(found.stamp, found.python, folder, python)


def _why_outdated(stamp: Stamp, found: str, folder: Path, asked: str | None) -> str:
    if stamp.folder != str(folder):
        return f"it was made for {stamp.folder}"
    if stamp.python != found:
        return f"its Python became {found} and was {stamp.python}"
    if asked is not None and stamp.python != asked:
        return f"it has Python {stamp.python}, and PYTHON is {asked}"
    return ""


def plan_for(checkout: Checkout, purpose: Purpose, python: str | None) -> Plan:
    """Decide what the checkout's virtual environment for `purpose` needs, as `plan` does."""
    folder = checkout.root / purpose.folder
    return plan(look(folder), folder, _wanted(checkout, purpose), python)


def ensure(checkout: Checkout, purpose: Purpose, environment: Mapping[str, str]) -> Path:
    """Return the Python of a virtual environment that has what is needed, made where it lacks.

    Raises `BootstrapError`.
    """
    folder = checkout.root / purpose.folder
    python = folder / "bin" / "python"
    asked = _version() if environment.get("PYTHON") else None
    if plan_for(checkout, purpose, asked).step == "nothing":
        return python

    wanted = _wanted(checkout, purpose)
    with one_at_a_time(
        checkout.make_state() / "virtual-environment.lock", "setting up the virtual environment"
    ) as lock:
        found = look(folder)
        needed = plan(found, folder, wanted, asked)
        if needed.step == "nothing":
            return python
        if needed.step == "make":
            _make(folder, needed.reason)
        elif found.stamp:
            # pip can leave half a package that it takes for a whole one.
            (folder / UNFINISHED).touch()
        name = next(iter(wanted))
        _install(checkout, folder, name, environment, lock)
        installed = {name: wanted[name]}
        if needed.step == "install" and found.stamp:
            installed = {**found.stamp.installed, **installed}
        stamp = Stamp(str(folder), _version_of(python) or "", fingerprint(python) or "", installed)
        write_object(folder / STAMP, asdict(stamp))
        (folder / UNFINISHED).unlink(missing_ok=True)
    return python


def look(folder: Path) -> Found:
    """Return what is at the virtual environment's place.

    Its Python is started only where it is not the one that the stamp knows.
    """
    stamp = _read_stamp(folder / STAMP)
    python = folder / "bin" / "python"
    interpreter = fingerprint(python)
    known = stamp is not None and stamp.interpreter == interpreter
    return Found(
        exists=folder.is_symlink() or folder.exists(),
        unfinished=(folder / UNFINISHED).exists(),
        interpreter=interpreter,
        python=stamp.python if stamp and known else interpreter and _version_of(python),
        stamp=stamp,
    )


def fingerprint(program: Path) -> str | None:
    """Return what tells the program at `program` from another, or None where it can't run."""
    if not os.access(program, os.X_OK):
        return None
    real = program.resolve()
    status = real.stat()
    return f"{real} {status.st_size} {status.st_mtime_ns}"


def _read_stamp(path: Path) -> Stamp | None:
    read = read_object(path)
    texts = [read.get(name) for name in ("folder", "python", "interpreter")]
    installed = read.get("installed")
    if not all(isinstance(text, str) for text in texts) or not isinstance(installed, dict):
        return None
    folder, python, interpreter = map(str, texts)
    return Stamp(folder, python, interpreter, cast("dict[str, str]", installed))


def _make(folder: Path, reason: str) -> None:
    base = cast("str", getattr(sys, "_base_executable", sys.executable))
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise BootstrapError(
                f"{base} can't make virtual environments: it has no {module} module",
                f"apt install python{_version()}-venv (Debian and Ubuntu), or name another Python "
                "with PYTHON=/path/to/python",
            )
    if reason:
        note(f"The virtual environment {folder} is made anew: {reason}.")
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / UNFINISHED).touch()
    _create(base, folder)


def _create(base: str, folder: Path) -> None:
    made = subprocess.run(
        [base, "-I", "-m", "venv", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise BootstrapError(
            f"{base} -m venv {folder} failed: {(made.stderr or made.stdout).strip()}",
            "see that message; PYTHON=/path/to/python names another Python",
        )


def _install(
    checkout: Checkout, folder: Path, name: str, environment: Mapping[str, str], lock: int
) -> None:
    python = folder / "bin" / "python"
    if not any(folder.glob("lib/python*/site-packages/pip")):
        subprocess.run([str(python), "-I", "-m", "ensurepip"], capture_output=True, check=False)
    run_with_progress(
        [*pip_install(python), "--requirement", str(checkout.root / name)],
        what=f"Installing {name} into {folder.name}",
        log=checkout.state / "pip.log",
        environment=pip_environment(environment),
        lock=lock,
        next_step="check that the package index is reached (pip's own settings apply) and that "
        "the disk has room, then run the same again",
    )


def pip_install(python: Path) -> list[str]:
    """Return the command line, without requirements, that installs what its hash was pinned for."""
    options = ["--require-hashes", "--no-input", "--disable-pip-version-check"]
    # Half of the time would go to the tens of thousands of modules of the clouds' SDKs, of which
    # few are ever imported; Python compiles those by itself.
    options.append("--no-compile")
    return [str(python), "-I", "-m", "pip", "install", *options, "--progress-bar", "off"]


def pip_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what would lead pip to install elsewhere."""
    elsewhere = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV"}
    return {name: value for name, value in environment.items() if name not in elsewhere}


def _wanted(checkout: Checkout, purpose: Purpose) -> dict[str, str]:
    """Return the requirements files of which one is enough, the one to install first: sha256."""
    return {name: _sha256(checkout.root / name) for name in purpose.accepted}


def _sha256(requirements: Path) -> str:
    try:
        return hashlib.sha256(requirements.read_bytes()).hexdigest()
    except OSError as error:
        raise BootstrapError(
            f"{requirements} can't be read: {error.strerror}", "git checkout -- requirements*"
        ) from None


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _version_of(python: Path) -> str | None:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [str(python), "-I", "-c", program]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
