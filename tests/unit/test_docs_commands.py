"""What the docs tell a person to type can be typed: it is there, and takes what it is given."""

from __future__ import annotations

import ast

import pytest
import yaml
from docs_commands import (
    OURS,
    Command,
    Setting,
    commands,
    keys_of,
    problem,
    programs_for,
    refused,
    settings_of,
    told,
)
from docs_pages import Page, pages

from stacks import PROGRAMS


def every_command() -> list[Command]:
    return [command for page in pages().values() for command in commands(page)]


def test_every_script_and_module_is_there_and_takes_its_arguments():
    problems = {str(command): problem(command) for command in every_command()}
    assert {text: said for text, said in problems.items() if said} == {}


def test_every_key_that_is_set_is_one_of_its_stacks_program():
    unknown = [
        str(setting.command)
        for setting in map(settings_of, every_command())
        if setting and not any(setting.key in keys_of(one) for one in programs_for(setting))
    ]
    assert unknown == []


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_values_of_each_block_are_taken_together(name: str):
    for block in pages()[name].blocks("sh"):
        page = Page(name, f"```sh\n{block.text}```\n")
        by_stack: dict[str, dict[str, str]] = {}
        for setting in filter(None, map(settings_of, commands(page))):
            _take(setting, by_stack)
        for stack, raw in by_stack.items():
            assert refused(PROGRAMS[stack], raw) is None, block.text


def _take(setting: Setting, by_stack: dict[str, dict[str, str]]) -> None:
    value = told(setting)
    if setting.stack is None or value is None:
        return
    raw = by_stack.setdefault(setting.stack, {})
    if setting.key in raw:
        # Another value of the same key: what was set before is a state of its own.
        assert refused(PROGRAMS[setting.stack], raw) is None, str(setting.command)
    raw[setting.key] = value


def test_python_in_the_docs_is_python_and_yaml_is_yaml():
    for page in pages().values():
        for block in page.blocks("python"):
            ast.parse(block.text)
        for block in page.blocks("yaml"):
            assert yaml.safe_load(block.text) is not None, page.name


def test_blocks_say_what_language_they_are_in():
    known = {"sh", "python", "yaml", "mermaid", "json", "toml", ""}
    for page in pages().values():
        for line in page.text.splitlines():
            if line.startswith("```") and line != "```":
                assert line.removeprefix("```") in known, f"{page.name}: {line}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scripts/nothing local", "there is no scripts/nothing"),
        ("scripts/up cpu-vn", "cpu-vn is no stack of the docs"),
        ("scripts/preview cpu-vn", "cpu-vn is no stack of the docs"),
        ("scripts/preview cpu-vm --bsae main", "--bsae is no option of scripts/preview"),
        ("scripts/state move local", "it takes: where STACK, or move STACK URL"),
        ("python -m scripts.nothing", "there is no module scripts.nothing"),
        ("python -m scripts.reference --chekc", "unrecognized arguments: --chekc"),
    ],
)
def test_a_command_that_would_not_do_is_found(text: str, said: str):
    assert text.startswith(OURS)
    (command,) = commands(Page("page", f"```sh\n{text}\n```\n"))
    assert said in str(problem(command))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("scripts/pulumi config set slots 2 --stack local", "slots", "2"),
        (
            "scripts/pulumi config set engine_flags --stack local -- '--a 1'",
            "engine_flags",
            "--a 1",
        ),
        ('A=b scripts/pulumi config set allowed_cidrs "$(curl x)/32"', "allowed_cidrs", None),
        ("scripts/pulumi config rm image --stack gpu-vm && scripts/up gpu-vm", "image", None),
    ],
)
def test_what_a_command_configures_is_read(line: str, key: str, value: str | None):
    first = next(commands(Page("page", f"```sh\n{line}\n```\n")))
    setting = settings_of(first)
    assert setting is not None
    assert setting.key == key
    assert value is None or setting.value == value
