"""The stack: its name on the command line, its configuration file, whether it exists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.places import PROJECT, Checkout, write_whole
from scripts.bootstrap.pulumi_cli import Cli

DEFAULT = "local"
STAND_IN_MODEL = "builtin:stand-in"
_NO_ANSWER = 3

_PART = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(f"{_PART}(/{_PART}){{0,2}}")


def parse(arguments: Sequence[str], default: str = DEFAULT) -> tuple[str, list[str]]:
    """Return the stack that `arguments` name and those that are pulumi's.

    The stack is the first argument unless that is an option, or what `--stack` or `-s` says;
    else `default`. Raises `BootstrapError`.
    """
    names: list[str] = []
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        names.append(rest.pop(0))
        if rest and not rest[0].startswith("-"):
            raise BootstrapError(
                f"{rest[0]!r} comes after the stack {names[0]}", "name one stack at a time"
            )
    kept: list[str] = []
    while rest:
        argument = rest.pop(0)
        option, equals, value = argument.partition("=")
        if option not in ("--stack", "-s"):
            kept.append(argument)
        elif equals:
            names.append(value)
        elif rest:
            names.append(rest.pop(0))
        else:
            raise BootstrapError(f"{argument} names no stack", f"give it one: {argument} local")
    if len(set(names)) > 1:
        raise BootstrapError(f"several stacks are named: {', '.join(names)}", "name one")
    name = names[0] if names else default
    if not _NAME.fullmatch(name):
        raise BootstrapError(
            f"{name!r} is no stack's name",
            "use letters, digits, '-', '_' and '.', such as local or cpu-vm",
        )
    return name, kept


def named(arguments: Sequence[str]) -> str | None:
    """Return the stack that `--stack` or `-s` names among pulumi's own `arguments`, or None."""
    for at, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--stack", "-s"):
            return value if equals else next(iter(arguments[at + 1 :]), None)
    return None


def needs_program(arguments: Sequence[str]) -> bool:
    """Whether pulumi's own `arguments` may run the program or ask plugins, and not the state alone.

    A stack can be configured, and its outputs be read, where its plugins can't be had.
    """
    return not arguments or arguments[0] not in _STATE_ALONE


_STATE_ALONE = ("config", "stack", "state", "cancel")


def configuration_file(checkout: Checkout, stack: str) -> Path:
    """Return the file of the stack's own configuration, which need not exist."""
    return checkout.stacks / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def configured(checkout: Checkout, stack: str, key: str) -> str | None:
    """Return the plain value of `llm-endpoint:KEY` in the stack's own file, or None."""
    try:
        text = configuration_file(checkout, stack).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    line = re.search(rf"^\s+{PROJECT}:{re.escape(key)}:(.*)$", text, re.MULTILINE)
    return line[1].strip().strip("'\"") if line else None


def is_local(checkout: Checkout, stack: str) -> bool:
    """Whether the stack deploys to this machine: by its `program`, else by its name."""
    return program(checkout, stack) == DEFAULT


def program(checkout: Checkout, stack: str) -> str:
    """Return what the stack deploys: its `program`, else its name; it need not be one."""
    return configured(checkout, stack, "program") or stack.rsplit("/", 1)[-1]


def _programs(checkout: Checkout) -> list[str]:
    """Return the programs' names; each has its defaults in `stacks/`."""
    files = checkout.stacks.glob("*.yaml")
    return sorted(f.stem.replace("_", "-") for f in files if not f.stem.startswith("Pulumi."))


def has_program(checkout: Checkout, stack: str) -> bool:
    """Whether the stack's `program`, or else its name, is a program's."""
    return program(checkout, stack) in _programs(checkout)


def require_program(checkout: Checkout, stack: str) -> None:
    """Raise `BootstrapError` where neither the stack's `program` nor its name is a program's.

    Told before anything is installed for it; a program has its defaults in `stacks/`.
    """
    if not has_program(checkout, stack):
        programs = _programs(checkout)
        raise BootstrapError(
            f"the stack {stack} deploys {program(checkout, stack)!r}, which is no program: "
            f"there is {', '.join(programs)}",
            f"name the stack after one, or say which: scripts/pulumi stack init {stack}, then "
            f"scripts/pulumi config set program {DEFAULT} --stack {stack}",
        )


def in_folder(backend: Path, stack: str) -> bool:
    """Whether the backend in the folder `backend` has the stack."""
    return stack.rsplit("/", 1)[-1] in names_in_folder(backend)


def names_in_folder(backend: Path) -> list[str]:
    """Return the project's stacks in the backend in the folder `backend`."""
    files = (backend / ".pulumi" / "stacks" / PROJECT).glob("*.json*")
    return sorted({match[1] for file in files if (match := _STATE_FILE.fullmatch(file.name))})


_STATE_FILE = re.compile(r"(.+)\.json(?:\.gz)?")


def exists(
    checkout: Checkout, stack: str, backend: Backend, cli: Cli, environment: Mapping[str, str]
) -> bool:
    """Whether the backend has the stack. Raises `BootstrapError` where it can't be asked."""
    if backend.folder is not None:
        return in_folder(backend.folder, stack)
    asked = run(checkout, cli, environment, ["stack", "--stack", stack, "--show-name"])
    if asked.returncode == 0:
        return True
    if "no stack named" in asked.stderr:
        return False
    raise BootstrapError(
        f"{backend.shown} can't be asked for the stack {stack}: {complaint(asked)}",
        f"{_log_in(backend)}; or choose another one by PULUMI_BACKEND_URL (this one is chosen by "
        f"{backend.why})",
    )


def _log_in(backend: Backend) -> str:
    if backend.url.startswith("gs://"):
        return "log in: gcloud auth application-default login"
    if backend.url.startswith("s3://"):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in: aws configure"
    return "log in: scripts/pulumi login"


def create(
    checkout: Checkout, stack: str, backend: Backend, cli: Cli, environment: Mapping[str, str]
) -> None:
    """Create the stack. Raises `BootstrapError`."""
    if backend.folder is not None:
        backend.folder.mkdir(parents=True, exist_ok=True)
    # Without it the CLI would ask for a passphrase; the file's own key is kept, and only decrypted.
    provider = _secrets_provider(checkout, stack)
    if provider is None:
        _refuse_a_runner_s_passphrase(checkout, stack, backend, environment)
    words = ["--secrets-provider", provider] if provider is not None else []
    made = run(checkout, cli, environment, ["stack", "init", stack, *words])
    if made.returncode == 0:
        note(f"Made the stack {stack}.")
    elif "already exists" not in made.stderr:
        raise BootstrapError(
            f"the stack {stack} can't be made in {backend.shown}: {complaint(made)}",
            "see that message",
        )


def _refuse_a_runner_s_passphrase(
    checkout: Checkout, stack: str, backend: Backend, environment: Mapping[str, str]
) -> None:
    """Raise `BootstrapError` where only a workflow's runner, soon gone, could decrypt the stack."""
    made_here = environment.get("PULUMI_CONFIG_PASSPHRASE_FILE") == str(
        checkout.state / "passphrase"
    )
    # Pulumi Cloud has keys of its own.
    lasting = backend.folder is not None or backend.url.startswith(("https://", "http://"))
    if environment.get("GITHUB_ACTIONS") == "true" and made_here and not lasting:
        shown = configuration_file(checkout, stack).relative_to(checkout.root)
        raise BootstrapError(
            f"{backend.shown} has no stack {stack}, and {shown} names no secretsprovider: the "
            "passphrase that was made for it would be gone with this runner",
            f"by hand: scripts/state move {stack} '{backend.shown}' --secrets-provider gcpkms://… "
            f"(or scripts/pulumi stack init {stack} with that option), and commit {shown}",
        )


def _secrets_provider(checkout: Checkout, stack: str) -> str | None:
    """Return what encrypts the stack's secrets by its own file; None where nothing is said."""
    try:
        text = configuration_file(checkout, stack).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    line = re.search(r"^secretsprovider:(.*)$", text, re.MULTILINE)
    return line[1].strip().strip("'\"") if line else None


def configure(
    checkout: Checkout,
    stack: str,
    values: Mapping[str, str],
    cli: Cli,
    environment: Mapping[str, str],
) -> None:
    """Write plain `values`, by their full keys, into the stack's configuration: all or none.

    Raises `BootstrapError`.
    """
    pairs = [word for key, value in values.items() for word in ("--plaintext", f"{key}={value}")]
    words = ["config", "set-all", *pairs, "--stack", stack]
    done = run(checkout, cli, environment, words)
    if done.returncode != 0:
        raise BootstrapError(
            f"{', '.join(values)} can't be written to the configuration of {stack}: "
            f"{complaint(done)}",
            "see that message",
        )


def use_stand_in_unless_hub_answers(
    checkout: Checkout, stack: str, environment: Mapping[str, str]
) -> None:
    """Give a local stack that is about to be made a model that can be had here.

    That is the stand-in where no hub answers and no model was asked for. It is written before the
    stack is made: once that is there, a missing model means the default one.
    """
    if configured(checkout, stack, "model") is not None or _hub_answers(checkout, environment):
        return
    file = configuration_file(checkout, stack)
    line = f"  {PROJECT}:model: {STAND_IN_MODEL}\n"
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    begun, config, rest = kept.partition("config:\n")
    write_whole(file, f"{begun}config:\n{line}{rest}" if config else f"{kept}config:\n{line}")
    note(
        "\n"
        "  STAND-IN MODEL. No model hub answers from here and no model was asked for, so the\n"
        f"  stack {stack} gets {STAND_IN_MODEL}: a tiny model made on this machine that gives\n"
        "  known answers. It is no language model. For a real one:\n"
        f"    scripts/pulumi config set model OWNER/REPO:FILE.gguf --stack {stack}\n"
        "  (or a URL or a path of a GGUF file), then the same command again.\n"
    )


def _hub_answers(checkout: Checkout, environment: Mapping[str, str]) -> bool:
    program = (
        "import sys; from scripts.models.ensure import hub_answers; "
        f"sys.exit(0 if hub_answers() else {_NO_ANSWER})"
    )
    asked = subprocess.run(
        [checkout.virtual_environment / "bin" / "python", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=checkout.root,
        env=dict(environment),
        check=False,
    )
    if asked.returncode not in (0, _NO_ANSWER):
        raise BootstrapError(
            f"whether a model hub answers can't be told: {asked.stderr.strip()}",
            "set a model: scripts/pulumi config set model OWNER/REPO:FILE.gguf",
        )
    return asked.returncode == 0


def run(
    checkout: Checkout, cli: Cli, environment: Mapping[str, str], arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run the CLI to its end, in the checkout, without a terminal; what it says is returned."""
    return subprocess.run(
        [str(cli.program), *arguments, "--non-interactive", "--color", "never"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=checkout.root,
        env=dict(environment),
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a CLI that failed said."""
    return done.stderr.strip().removeprefix("error: ")
