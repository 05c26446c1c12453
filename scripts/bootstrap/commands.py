"""scripts/up, down, preview, state, pulumi, doctor and colab."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.bootstrap import (
    adoption,
    backend,
    ci_check,
    decrypting,
    exported,
    leftovers,
    locks,
    moving,
    own_bucket,
    policy,
    recording,
    registry,
    stack,
    summary,
    verification,
    virtual_environment,
    zones,
)
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared, add_plugins, prepare
from scripts.bootstrap.places import Checkout, this_checkout, write_whole
from scripts.bootstrap.running import INTERRUPTED, run_live

USAGE = """\
usage: scripts/up [STACK] [--policy] [--move-cache] [arguments of `pulumi up`]
       scripts/down [STACK] [arguments of `pulumi destroy`, such as --remove]
       scripts/preview [STACK] [--base REF] [arguments of `pulumi preview`]
       scripts/state move STACK URL [--secrets-provider PROVIDER]
       scripts/state where STACK
       scripts/doctor [STACK]
       scripts/colab [STACK] [--port PORT]
       scripts/pulumi [arguments of `pulumi`]
STACK is `local` unless it is given, and for colab `gke-colab`. --policy refuses what the policy
pack does (policy/). --move-cache gives up the cache disk of a machine that goes to the next of its
`zones`, where its own has no room."""

COLAB_STACK = "gke-colab"
"""The stack that scripts/colab means unless one is named."""
FORWARD_TO_RUNTIME = "scripts.runtime.forward"
CI_PROGRAM = "ci"
"""The program whose own state goes into the bucket that it makes."""

# The summary shows what of the outputs a person needs; the receipt alone has a hundred lines.
QUIET = ("--suppress-outputs",)

# Arguments of `pulumi destroy` with which something of the stack stays.
_PARTIAL = ("--target", "-t", "--exclude", "-x", "--exclude-protected", "--preview-only")
# With it `pulumi destroy` forgets the stack too, also one that has nothing.
_REMOVE = "--remove"

# Tells the program that what follows a lack of room is seen to (stacks/gcp_vm.py).
_BY_UP = {"LLM_ENDPOINT_UP": "1"}


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    commands = {
        "up": up,
        "down": down,
        "preview": preview,
        "state": state,
        "pulumi": pulumi,
        "doctor": doctor,
        "colab": colab,
        "test": test,
    }
    command = commands.get(arguments[0]) if arguments else None
    if command is None:
        note(USAGE)
        return 2
    if command is not pulumi and {"-h", "--help"} & set(arguments):
        print(_usage(arguments[0]))
        return 0
    try:
        return command(this_checkout(), list(arguments[1:]))
    except BootstrapError as error:
        note(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        note("interrupted; the same command goes on from here")
        return INTERRUPTED
    except OSError as error:
        note(f"error: {error}\nnext: see that path's disk and permissions")
        return 1


def _usage(command: str) -> str:
    if command == "preview":
        from scripts.bootstrap import previews

        return previews.USAGE
    if command == "test":
        from scripts.bootstrap import checks

        return checks.USAGE
    return USAGE


def up(checkout: Checkout, arguments: list[str]) -> int:
    """Bring the stack up, check that it answers, and say how to talk to it."""
    move_cache = zones.MOVE_CACHE in arguments
    ours = (zones.MOVE_CACHE, policy.OPTION)
    name, rest = stack.parse([word for word in arguments if word not in ours])
    stack.require_program(checkout, name)
    local = stack.is_local(checkout, name)
    if move_cache and local:
        raise _no_cache_to_move(f"{name} deploys to this machine, which is in no zone")
    ready = prepare(checkout, name, os.environ)
    if policy.OPTION in arguments:
        # Rules over the whole stack judge at its end: by a preview, before anything is made.
        rest += [*policy.arguments(ready, os.environ, name), "--skip-preview=false"]
    interrupted = locks.settle(ready, name)
    if not stack.exists(checkout, name, ready.backend, ready.cli, ready.variables):
        if local:
            stack.use_stand_in_unless_hub_answers(checkout, name, ready.variables)
        stack.create(checkout, name, ready.backend, ready.cli, ready.variables)
    else:
        _refuse_another_passphrase(ready, name)
        _adopt(ready, name)
    if move_cache:
        moving.refuse_without_zones(ready, name)
    if not recording.record(ready, name):
        return 1
    began = datetime.datetime.now(datetime.UTC)

    def pulumi_up(more: Sequence[str], variables: Mapping[str, str]) -> int:
        words = ["up", "--yes", "--skip-preview", *QUIET, "--stack", name, *more, *rest]
        return _pulumi(ready, words, {**_BY_UP, **variables})

    status = (
        pulumi_up((), {}) if local else moving.up(ready, name, pulumi_up, give_up_cache=move_cache)
    )
    if status != 0:
        again = f"scripts/up {name}"
        note(
            f"interrupted: {again} goes on from here"
            if status == INTERRUPTED
            else f"error: pulumi up ended with status {status}\n"
            f"next: the cause is under 'Diagnostics:' above; mend it, then {again}"
        )
        _say_unfinished(ready, name)
        return status
    if "--preview-only" in rest:
        return 0
    if interrupted and not _say_unfinished(ready, name):
        _forget_interrupted_creation(ready, name)
    outputs = _outputs(ready, name, secrets=True)
    ca_file = _write_ca(checkout, name, outputs)
    _verify_what_was_not(ready, name, outputs, ca_file, began)
    for line in summary.closing_lines(outputs, name, _pulumi_from_here(checkout), ca_file):
        print(line)
    if stack.program(checkout, name) == CI_PROGRAM:
        from scripts.bootstrap.state import take_home

        return take_home(ready, name)
    return 0


def down(checkout: Checkout, arguments: list[str]) -> int:
    """Destroy what the stack has, and say what still bills."""
    if zones.MOVE_CACHE in arguments:
        raise _no_cache_to_move("down moves no machine")
    name, rest = stack.parse(arguments)
    chosen = backend.choose(checkout, os.environ)
    if chosen.folder is not None and not stack.in_folder(chosen.folder, name):
        raise _no_such_stack(name, chosen, stack.names_in_folder(chosen.folder))
    local = stack.is_local(checkout, name)
    ready = prepare(checkout, name, os.environ, state_alone=not local)
    if not stack.exists(checkout, name, ready.backend, ready.cli, ready.variables):
        raise _no_such_stack(name, ready.backend, _names(ready))
    locks.settle(ready, name)
    _refuse_another_passphrase(ready, name)
    if not local:
        found = _export(ready, name)
        if exported.is_empty(found) and _REMOVE not in rest:
            print(summary.nothing_to_remove(name, _pulumi_from_here(checkout)))
            return 0
        if exported.needs_plugins(found):
            ready = add_plugins(ready, name, os.environ)
    settled = _adopt(ready, name)
    outputs = _outputs(ready, name, secrets=False)
    partial = any(argument.partition("=")[0] in _PARTIAL for argument in rest)
    export = _export(ready, name)
    state = exported.read(export, settled)
    own_bucket.refuse(checkout, name, ready.backend, outputs, keeps_bucket=state.keeps_bucket)
    kept = () if partial else state.protected
    if kept:
        # Asked to delete what is protected, pulumi fails half-way.
        rest = [*rest, "--exclude-protected"]
        note(f"Protected, and left as it is (keep_data): {', '.join(kept)}")
    sought = leftovers.sought(export)
    status = _pulumi(ready, ["destroy", "--yes", "--skip-preview", *QUIET, "--stack", name, *rest])
    print(
        summary.what_bills(
            outputs.billing,
            all_gone=status == 0 and not partial,
            stack=name,
            pulumi=_pulumi_from_here(checkout),
            kept=kept,
            with_cluster=bool(sought),
            with_bucket=state.keeps_bucket,
            unfinished=state.unfinished,
        )
    )
    if status == 0 and not partial:
        if sought:
            leftovers.look(ready, sought, kept=bool(kept))
        backups = stack.configured(checkout, name, "runtime_backup") or ""
        if "://" in backups:
            print(summary.backups_stay(backups))
        if stack.program(checkout, name) == CI_PROGRAM and not kept:
            print(own_bucket.names_stay(name, _pulumi_from_here(checkout)))
    if status not in (0, INTERRUPTED):
        note(f"error: pulumi destroy ended with status {status}\nnext: scripts/down {name} again")
    return status


def pulumi(checkout: Checkout, arguments: list[str]) -> int:
    """Become the CLI, in this checkout's environment."""
    name = stack.named(arguments)
    if name is not None and not (
        stack.needs_program(arguments) and stack.has_program(checkout, name)
    ):
        # Or a stack that is being set up: what it will need can't be told yet.
        name = None
    ready = prepare(checkout, name, os.environ)
    if not Path.cwd().is_relative_to(checkout.root):
        os.chdir(checkout.root)
    # Python ignores it, and what is started would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(ready.cli.program, [str(ready.cli.program), *arguments], dict(ready.variables))  # noqa: S606


def test(checkout: Checkout, arguments: list[str]) -> int:
    """Check the code and run the tests."""
    from scripts.bootstrap.checks import run_checks

    return run_checks(checkout, arguments, os.environ)


def preview(checkout: Checkout, arguments: list[str]) -> int:
    """Print in Markdown what an up would change."""
    from scripts.bootstrap.previews import preview as told

    return told(checkout, arguments, os.environ)


def state(checkout: Checkout, arguments: list[str]) -> int:
    """Move a stack's state to another backend."""
    from scripts.bootstrap.state import state as moved

    return moved(checkout, arguments, os.environ)


def doctor(checkout: Checkout, arguments: list[str]) -> int:
    """Say what is missing on this machine, and what to type for it."""
    from scripts.bootstrap.doctor import examine

    name, rest = stack.parse(arguments)
    if rest:
        raise BootstrapError(f"doctor takes no {rest[0]!r}", "scripts/doctor [STACK]")
    return examine(checkout, name, os.environ)


def colab(checkout: Checkout, arguments: list[str]) -> int:
    """Become what keeps a way open to the notebook runtime of a stack."""
    name, rest = stack.parse(arguments, default=COLAB_STACK)
    python = virtual_environment.ensure(checkout, virtual_environment.ANY_STACK, os.environ)
    os.chdir(checkout.root)
    sys.stdout.flush()
    os.execv(python, [str(python), "-m", FORWARD_TO_RUNTIME, name, *rest])  # noqa: S606


def _no_cache_to_move(why: str) -> BootstrapError:
    return BootstrapError(
        f"{zones.MOVE_CACHE} is for scripts/up of a machine in a cloud: {why}", "leave it out"
    )


def _pulumi(
    ready: Prepared, arguments: Sequence[str], variables: Mapping[str, str] | None = None
) -> int:
    command = [str(ready.cli.program), *arguments]
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        command.append("--non-interactive")
    sys.stdout.flush()
    return run_live(command, ready.checkout.root, {**ready.variables, **(variables or {})})


def _forget_interrupted_creation(ready: Prepared, name: str) -> None:
    """Clear the state of creations that a killed pulumi began and this one has done again."""
    arguments = ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", name]
    done = stack.run(ready.checkout, ready.cli, ready.variables, arguments)
    if done.returncode != 0:
        note(f"note: the state still lists an interrupted creation: {stack.complaint(done)}")


def _outputs(ready: Prepared, name: str, *, secrets: bool) -> summary.Outputs:
    """Return the stack's outputs. Raises `BootstrapError` where they can't be read."""
    arguments = ["stack", "output", "--json", "--stack", name]
    if secrets:
        arguments.append("--show-secrets")
    done = stack.run(ready.checkout, ready.cli, ready.variables, arguments)
    if done.returncode != 0:
        raise BootstrapError(
            f"the outputs of {name} can't be read: {stack.complaint(done)}", "see that message"
        )
    return summary.read(json.loads(done.stdout))


def _adopt(ready: Prepared, name: str) -> frozenset[str]:
    """Take up what a killed pulumi left in a cloud; the URNs of which it is known how they stand.

    On this machine nothing is left, and `up` loses no time.
    """
    if stack.is_local(ready.checkout, name):
        return frozenset()
    return adoption.adopt(ready.checkout, name, ready.cli, ready.variables)


def _refuse_another_passphrase(ready: Prepared, name: str) -> None:
    """Raise `BootstrapError` where the state was encrypted elsewhere, with another passphrase.

    What lies in the checkout's own folder was encrypted here: it is not asked, and loses no time.
    """
    if ready.backend.why != "the default":
        decrypting.refuse_another_passphrase(ready, name)


def _export(ready: Prepared, name: str) -> exported.Export:
    """Return the state; of a stack on this machine nothing, which it costs no time."""
    if stack.is_local(ready.checkout, name):
        return exported.Export()
    return exported.export(ready.checkout, name, ready.cli, ready.variables)


def _say_unfinished(ready: Prepared, name: str) -> bool:
    """Say what a killed pulumi may have left beside the state; whether there is any."""
    unfinished = exported.read(_export(ready, name)).unfinished
    if unfinished:
        note(summary.unfinished_lines(unfinished, name, _pulumi_from_here(ready.checkout)))
    return bool(unfinished)


def _verify_what_was_not(
    ready: Prepared,
    name: str,
    outputs: summary.Outputs,
    ca_file: Path | None,
    began: datetime.datetime,
) -> None:
    """Check what this up, which `began` then, has not: raises `BootstrapError` where it fails."""
    if outputs.url is not None and not _is_since(outputs.verified_at, began):
        verification.again(ready, name, outputs, ca_file)
    if outputs.runtime is not None and not _is_since(outputs.runtime.verified_at, began):
        verification.runtime_again(ready, name, outputs)
    if outputs.registry is not None:
        registry.look(ready, name, outputs)
    if outputs.wanted is not None and not _is_since(outputs.verified_at, began):
        ci_check.again(ready, name, outputs.wanted)


def _is_since(moment: str, began: datetime.datetime) -> bool:
    try:
        return datetime.datetime.fromisoformat(moment) >= began
    except (ValueError, TypeError):
        return False


def _write_ca(checkout: Checkout, name: str, outputs: summary.Outputs) -> Path | None:
    if outputs.ca_certificate is None:
        return None
    file = checkout.make_state() / f"{name.replace('/', '-')}-ca.pem"
    write_whole(file, outputs.ca_certificate)
    return file


def _names(ready: Prepared) -> list[str]:
    listed = stack.run(ready.checkout, ready.cli, ready.variables, ["stack", "ls", "--json"])
    return [entry["name"] for entry in json.loads(listed.stdout)] if not listed.returncode else []


def _no_such_stack(name: str, where: backend.Backend, names: Sequence[str]) -> BootstrapError:
    return BootstrapError(
        f"the backend {where.shown} ({where.why}) has no stack {name}",
        f"name one that it has ({', '.join(names)})"
        if names
        else "it has none of this project: nothing to take away, or another backend is meant "
        "(PULUMI_BACKEND_URL, pulumi login)",
    )


def _pulumi_from_here(checkout: Checkout) -> str:
    """Return how scripts/pulumi is called from the working directory."""
    script = checkout.root / "scripts" / "pulumi"
    here = Path.cwd() == checkout.root
    return "scripts/pulumi" if here else shlex.quote(str(script))
