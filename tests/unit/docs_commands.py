"""The commands in the docs: found, told apart, and read as the program itself would read them."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import inspect
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import patch

from docs_pages import Page

from components.settings import ConfigurationError
from components.settings.secrets import ENCRYPTED, secret_keys
from scripts.bootstrap import previews
from scripts.bootstrap import stack as stacks_of
from scripts.bootstrap.console import BootstrapError
from scripts.made_up import made_up
from scripts.reference.documents import CHECKOUT
from stacks import PROGRAMS, Program

OURS = ("scripts/", ".venv/bin/python -m scripts.", "python -m scripts.")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*(=VALUE)?|…|\.\.\.")
_SUBSTITUTION = re.compile(r'"?\$\((?:[^()]|\([^()]*\))*\)[^\s"]*"?')
_SCRIPT = re.compile(r"scripts/[a-z-]+")
_SEPARATORS = frozenset({"&&", "||", "|", ";", "&"})
_STANDS_FOR = {
    "allowed_cidrs": "203.0.113.7/32",
    "registry": "gs://models",
    "github_repository_id": "123456789",
    "github_owner_id": "12345678",
    "PROJECT_ID": "my-project",
    "BUCKET": "models",
    "OWNER": "example",
    "REPO": "llm-endpoint",
    "REPOSITORY": "llm-endpoint",
}
"""By a key, the value that a command in its place would print; by a placeholder, what is meant."""
_MEANT = re.compile(r"\b(PROJECT_ID|BUCKET|OWNER|REPO|REPOSITORY)\b")


@dataclass(frozen=True)
class Command:
    """One command as a page has it: where, and its words, without substitutions."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"

    @property
    def program(self) -> str:
        """What is run: a script, or a module."""
        return self.words[2] if self.words[1:2] == ("-m",) else self.words[0]

    @property
    def arguments(self) -> list[str]:
        """What it is given."""
        return list(self.words[3:] if self.words[1:2] == ("-m",) else self.words[1:])


@dataclass(frozen=True)
class Setting:
    """A key that a command sets, or removes (`value` is None), in the stack that it names."""

    stack: str | None
    key: str
    value: str | None
    command: Command


def commands(page: Page) -> Iterator[Command]:
    """Yield the commands of ours in the page's shell blocks, in their order, then those in text."""
    lines = [line for block in page.blocks("sh") for line in _logical_lines(block.text)]
    inline = [code for code in page.inline_code() if code.startswith(OURS)]
    for line in (*lines, *inline):
        for words in _simple_commands(line):
            if _SCRIPT.fullmatch(words[0]) or words[1:2] == ["-m"]:
                yield Command(page.name, tuple(words))


def _logical_lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


def _simple_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line; what another one prints is `$()`."""
    plain = _SUBSTITUTION.sub("'$()'", line)
    lexer = shlex.shlex(plain, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _SEPARATORS:
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
            words.append(word)
    if words:
        yield words


def problem(command: Command) -> str | None:
    """Return why the command can't be run as it stands; None where it can."""
    name = command.program
    if command.words[1:2] == ("-m",):
        return _module_problem(name, command.arguments)
    if not (CHECKOUT / name).is_file():
        return f"there is no {name}"
    match name:
        case "scripts/preview":
            return _preview_problem(command.arguments)
        case "scripts/up" | "scripts/down" | "scripts/doctor":
            return _stack_problem(command.arguments)
        case "scripts/state":
            return _state_problem(command.arguments)
        case _:
            return None


def _stack_problem(arguments: Sequence[str]) -> str | None:
    try:
        name, _ = stacks_of.parse([_known(word) for word in arguments if word != "[STACK]"])
    except BootstrapError as error:
        return str(error)
    return None if name in PROGRAMS else f"{name} is no stack of the docs"


def _preview_problem(arguments: Sequence[str]) -> str | None:
    """Return why a preview can't be had as the page says; none there has options of pulumi's."""
    words = [word.strip("[]") for word in arguments if word != "[STACK]"]
    try:
        asked = previews.parse([_known(word) for word in words])
    except previews.UsageError as error:
        return str(error)
    if asked.rest:
        return f"{asked.rest[0]} is no option of scripts/preview"
    return None if asked.stack in PROGRAMS else f"{asked.stack} is no stack of the docs"


def _state_problem(arguments: Sequence[str]) -> str | None:
    words = list(arguments)
    if "--secrets-provider" in words:
        at = words.index("--secrets-provider")
        del words[at : at + 2]
    match words:
        case [] | ["where" | "move"]:
            return None
        case ["where", stack] | ["move", stack, _]:
            return _stack_problem([stack])
        case _:
            return "it takes: where STACK, or move STACK URL"


def _known(word: str) -> str:
    return stacks_of.DEFAULT if _PLACEHOLDER.fullmatch(word) else word


def _module_problem(name: str, arguments: Sequence[str]) -> str | None:
    package = importlib.util.find_spec(name)
    if package is None:
        return f"there is no module {name}"
    is_package = package.submodule_search_locations is not None
    main = importlib.import_module(f"{name}.__main__" if is_package else name)
    if not arguments or not _uses_argparse(package):
        return None
    told = io.StringIO()
    with (
        _ending_after_parsing(),
        contextlib.redirect_stderr(told),
        contextlib.redirect_stdout(told),
        patch.object(sys, "argv", [name, *arguments]),
    ):
        try:
            main.main(list(arguments), *_environments(main.main))
        except _ParsedError:
            return None
        except SystemExit as ended:
            return f"it ended with {ended.code}: {told.getvalue().strip()[-300:]}"
    return f"it parsed no arguments: {told.getvalue().strip()[-300:]}"


def _uses_argparse(module: ModuleSpec) -> bool:
    """Whether the module, or one of its package, has a parser that tells what it takes."""
    origin = Path(str(module.origin))
    files = [origin] if module.submodule_search_locations is None else origin.parent.glob("*.py")
    return any("ArgumentParser" in file.read_text(encoding="utf-8") for file in files)


def _environments(main: Callable[..., object]) -> list[dict[str, str]]:
    """Return an empty environment where `main` takes one besides its arguments."""
    taken = inspect.signature(main).parameters.values()
    return [{} for one in [*taken][1:] if one.default is one.empty]


class _ParsedError(Exception):
    """The arguments were taken: nothing further is run."""


@contextlib.contextmanager
def _ending_after_parsing() -> Iterator[None]:
    """Let argparse do its work, and nothing come after it."""
    is_inside = False

    def ending(parse: Callable[..., tuple[object, list[str]]]) -> Callable[..., object]:
        def once(parser: argparse.ArgumentParser, args: object = None, names: object = None):
            nonlocal is_inside
            if is_inside:
                # Of a subcommand, or of a part, by the parser of all.
                return parse(parser, args, names)
            is_inside = True
            try:
                _, rest = parse(parser, args, names)
            finally:
                is_inside = False
            if rest:
                parser.error(f"unrecognized arguments: {' '.join(rest)}")
            raise _ParsedError

        return once

    names = ("parse_known_args", "parse_known_intermixed_args")
    parser = argparse.ArgumentParser
    with contextlib.ExitStack() as patches:
        for name in names:
            patches.enter_context(patch.object(parser, name, ending(getattr(parser, name))))
        yield


def settings_of(command: Command) -> Setting | None:
    """Return what the command configures; None for a command that configures nothing named."""
    words = command.arguments
    if command.program != "scripts/pulumi" or words[:1] != ["config"] or len(words) < 3:
        return None
    stack, rest = _without_stack(words[2:])
    dashed = rest.index("--") if "--" in rest else None
    plain = rest if dashed is None else [*rest[:dashed], *rest[dashed + 1 :]]
    plain = [word for word in plain if word not in {"--secret", "--plaintext"}]
    if words[1] not in {"set", "rm"} or not plain or _PLACEHOLDER.fullmatch(plain[0]):
        return None
    key = plain[0]
    value = plain[1] if words[1] == "set" and len(plain) > 1 else None
    return Setting(stack, key, value, command)


def _without_stack(words: Sequence[str]) -> tuple[str | None, list[str]]:
    kept, stack = list(words), None
    if "--stack" in kept:
        at = kept.index("--stack")
        stack = kept[at + 1] if at + 1 < len(kept) else None
        del kept[at : at + 2]
    return (None if stack is None or _PLACEHOLDER.fullmatch(stack) else stack), kept


def programs_for(setting: Setting) -> list[Program]:
    """Return the programs whose key it may be: the stack's own, or any where none is named."""
    if setting.stack is not None:
        return [PROGRAMS[setting.stack]]
    return list(PROGRAMS.values())


def keys_of(program: Program) -> set[str]:
    """Return the names of the program's keys, as a person types them."""
    return {field.alias or name for name, field in program.schema.model_fields.items()}


def told(setting: Setting) -> str | None:
    """Return the raw value that the command sets; None where the page leaves it to the reader."""
    if setting.value is None or setting.key in _secrets():
        return None if setting.value is None and setting.key not in _secrets() else ENCRYPTED
    if "$()" in setting.value:
        return _STANDS_FOR.get(setting.key)
    value = _MEANT.sub(lambda found: _STANDS_FOR[found[0]], setting.value)
    return None if _PLACEHOLDER.fullmatch(value) else value


def _secrets() -> frozenset[str]:
    return frozenset[str]().union(*(secret_keys(one.schema) for one in PROGRAMS.values()))


def refused(program: Program, raw: dict[str, str]) -> str | None:
    """Return why the program does not take `raw`, with what must be set made up."""
    try:
        program.settings({**made_up(program, raw), **raw})
    except ConfigurationError as error:
        return str(error)
    return None
