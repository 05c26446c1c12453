"""What raises the pins finds every one of them, once, and leaves nothing of the old version behind.

Renovate itself is not run here. This does what it does with `.github/renovate.json`: patterns of
files, regular expressions, what it writes, and how it reads the heads of locks
(github.com/renovatebot/renovate, lib/modules/manager/custom/regex, …/pip-compile/common.ts and
lib/workers/repository/update/branch/auto-replace.ts at c2dd4f8).
"""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from scripts import pins as digests
from scripts.bootstrap import pins as bootstrap
from scripts.versions.pinned import locks, pinned, tables

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = json.loads((CHECKOUT / ".github/renovate.json").read_text(encoding="utf-8"))
PINS = pinned(CHECKOUT)
PINS_TEXT = (CHECKOUT / "pins.toml").read_text(encoding="utf-8")
TABLES = tables(tomllib.loads(PINS_TEXT))
# Its own, where the configuration says nothing.
GO_MOD = "/(^|/)go\\.mod$/"
ACTIONS = (
    "/(^|/)(workflow-templates|\\.(?:github|gitea|forgejo)/(?:workflows|actions))/.+\\.ya?ml$/"
)
ALLOWED_FOR_UV = {
    *("--no-strip-extras", "--universal", "-v", "--generate-hashes", "--emit-index-url"),
    *("--index-url", "--all-extras", "--constraints", "--constraint", "--python-version"),
    *("--no-emit-package", "--prerelease", "--format", "--resolution", "--fork-strategy"),
    *("--exclude-newer", "--exclude-newer-package", "--group", "--override", "--overrides"),
    *("--output-file", "--extra", "--extra-index-url"),
}
WITH_A_VALUE = {"--python-version", "--output-file", "--constraint", "--extra", "--exclude-newer"}
DATASOURCES = {
    "pulumi": ("github-releases", "pulumi/pulumi"),
    "pulumi_build": ("go", "github.com/pulumi/pulumi/pkg/v3"),
    "localllm": ("git-refs", "localllm"),
    "caddy": ("github-releases", "caddyserver/caddy"),
    "dockerfiles": ("github-tags", "ggml-org/llama.cpp"),
}


@dataclass(frozen=True)
class Match:
    """A place that a custom manager found: what it would look up, and for which version."""

    manager: int
    file: str
    span: tuple[int, int]
    name: str
    datasource: str
    value: str
    digest: str


def expression(text: str) -> re.Pattern[str]:
    """Return an expression of RE2's as Python has it: groups are named with a P there."""
    return re.compile(text.replace("(?<", "(?P<"))


def fits(patterns: list[str], file: str) -> bool:
    assert all(one.startswith("/") and one.endswith("/") for one in patterns)
    return any(expression(one[1:-1]).search(file) for one in patterns)


@cache
def files() -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(name for name in listed.stdout.splitlines() if (CHECKOUT / name).is_file())


def matches(file: str, text: str) -> Iterator[Match]:
    for index, manager in enumerate(CONFIG["customManagers"]):
        if not fits(manager["managerFilePatterns"], file):
            continue
        for string in manager["matchStrings"]:
            for found in expression(string).finditer(text):
                groups = found.groupdict(default="")
                name = manager.get("depNameTemplate", groups.get("depName", ""))
                yield Match(
                    manager=index,
                    file=file,
                    span=found.span(),
                    name=name,
                    datasource=manager["datasourceTemplate"],
                    value=manager.get("currentValueTemplate", groups.get("currentValue", "")),
                    digest=groups.get("currentDigest", ""),
                )


@cache
def found() -> tuple[Match, ...]:
    return tuple(
        match
        for file in files()
        if not fits(["/\\.(png|svg)$/"], file)
        for match in matches(file, (CHECKOUT / file).read_text(encoding="utf-8", errors="replace"))
    )


def of_table(name: str, text: str = PINS_TEXT) -> tuple[int, int]:
    """Return where a table of `pins.toml` begins, and where the next one does."""
    start = text.index(f"\n[{name}]\n")
    after = re.compile(rf"^\[(?!{re.escape(name)}\.)", re.MULTILINE)
    following = after.search(text, start + len(name) + 3)
    return start, len(text) if following is None else following.start()


def within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


@pytest.mark.parametrize("name", TABLES)
def test_one_manager_finds_each_table_of_the_pins(name: str):
    in_it = [one for one in found() if one.file == "pins.toml" and within(one.span, of_table(name))]
    (match,) = in_it
    table = TABLES[name]
    named = DATASOURCES.get(name) or DATASOURCES.get(name.partition(".")[0])
    assert (match.datasource, match.name) == (named or ("docker", table["repository"]))
    version = next(str(table[key]) for key in ("version", "tag", "commit") if key in table)
    if name == "localllm":
        assert (match.value, match.digest) == ("main", version)
    else:
        assert match.value == version.removeprefix("v" if name == "caddy" else "")
        assert match.digest == table.get("digest", table.get("commit", ""))


def test_they_find_nothing_else():
    assert {one.file for one in found()} == {"pins.toml", "tests/real/crds/modules.py"}
    assert len([one for one in found() if one.file == "pins.toml"]) == len(TABLES)
    modules = {f"go:{one.name}" for one in found() if one.file.startswith("tests/")}
    assert modules == {one.name for one in PINS if one.file == "tests/real/crds/modules.py"}


def test_workflows_name_pulumi_s_version_where_its_action_takes_it():
    """Renovate knows that input of the action (…/github-actions/community.ts), and raises it."""
    for file in files():
        if fits([ACTIONS], file):
            text = (CHECKOUT / file).read_text(encoding="utf-8")
            jobs = yaml.safe_load(text)["jobs"].values()
            steps = [step for job in jobs for step in job.get("steps", [])]
            named = [step for step in steps if "pulumi-version" in step.get("with", {})]
            assert len(named) == len(re.findall(r"pulumi-version:", text))
            assert all(step["uses"].startswith("pulumi/actions@") for step in named)


def test_an_expression_is_one_that_its_engine_takes():
    for manager in CONFIG["customManagers"]:
        for string in manager["matchStrings"]:
            assert not re.search(r"\(\?[=!]|\(\?<[=!]|\\[1-9]|\(\?[a-z]+\)", string)
            # They would be the ends of the file.
            assert not re.search(r"(?<!\[)\^|(?<!\\)\$", string)


def after(match: Match, text: str, value: str, digest: str) -> str:
    """Return `text` with what is written in the place of `match` where it is raised."""
    start, end = match.span
    template = CONFIG["customManagers"][match.manager].get("autoReplaceStringTemplate")
    if template is not None:
        new = template.replace("{{{newValue}}}", value)
        assert "{{" not in new
    else:
        new = text[start:end].replace(match.value, value, 1)
        if match.digest:
            new = new.replace(match.digest, digest, 1)
    return text[:start] + new + text[end:]


@pytest.mark.parametrize("name", TABLES)
def test_a_raise_leaves_no_address_and_no_digest_of_the_version_before(name: str, tmp_path: Path):
    (match,) = [one for one in matches("pins.toml", PINS_TEXT) if within(one.span, of_table(name))]
    if name == "localllm":
        value, digest = "main", 40 * "e"
    else:
        value = "99.98.97"
        digest = "sha256:" + 64 * "e" if match.digest.startswith("sha256:") else 40 * "e"
    text = after(match, PINS_TEXT, value, digest)
    table = tables(tomllib.loads(text))[name]
    written = "\n".join(
        line for line in text[slice(*of_table(name, text))].splitlines() if line[:1] != "#"
    )
    if name != "localllm":
        assert value in written
        assert match.value not in written
    if match.digest:
        assert digest in written
        assert match.digest not in written
    (again,) = [one for one in matches("pins.toml", text) if within(one.span, of_table(name, text))]
    assert (again.manager, again.name, again.value) == (match.manager, match.name, value)
    file = tmp_path / "pins.toml"
    file.write_text(text, encoding="utf-8")
    if name == "pulumi":
        assert not any(table["sha256"].values())
        assert bootstrap.load(file).release.version == value
    if name == "caddy":
        assert (table["version"], table["sha512"]) == (f"v{value}", "")
    for pin in digests.pins_of(tomllib.loads(text)):
        if pin.table in {name, f"{name}.sha256"}:
            assert value in str(pin.of)


def test_a_digest_that_was_filled_in_goes_with_its_version():
    filled = re.sub(
        r'^(linux-x64|sha512) = ""$', r'\1 = "abcdef0123"', PINS_TEXT, flags=re.MULTILINE
    )
    assert filled.count("abcdef0123") == 2
    for name in ("pulumi", "caddy"):
        (match,) = [
            one for one in matches("pins.toml", filled) if within(one.span, of_table(name, filled))
        ]
        filled = after(match, filled, "99.98.97", "")
    assert "abcdef0123" not in filled


def test_only_managers_of_which_something_is_pinned_run():
    assert set(CONFIG["enabledManagers"]) == {
        "custom.regex", "github-actions", "gomod", "pip-compile",
    }  # fmt: skip


def test_every_go_module_is_found_also_those_of_tests():
    assert CONFIG["ignorePresets"] == [":ignoreModulesAndTests"]
    assert "ignorePaths" not in CONFIG
    modules = {file for file in files() if file.endswith("go.mod")}
    assert {one.file for one in PINS if one.file.endswith("go.mod")} == modules
    assert all(fits([GO_MOD], file) for file in modules)


def test_every_action_is_pinned_by_a_commit_with_its_version_beside_it():
    used = re.compile(r"^\s*-?\s*uses:\s*(\S+)(?:\s+#\s*(\S+))?\s*$", re.MULTILINE)
    seen = 0
    for file in files():
        if file.startswith(".github/workflows/") and fits([ACTIONS], file):
            for action, version in used.findall((CHECKOUT / file).read_text(encoding="utf-8")):
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), f"{file}: {action}"
                assert re.fullmatch(r"v\d+\.\d+\.\d+", version), f"{file}: {action}"
                seen += 1
    assert seen > 0


LOCKS = locks(CHECKOUT)


@pytest.mark.parametrize(("source", "lock"), LOCKS.items(), ids=LOCKS.values())
def test_a_lock_s_head_is_the_command_that_makes_it_anew(source: str, lock: str):
    assert fits(CONFIG["pip-compile"]["managerFilePatterns"], lock)
    assert not fits(CONFIG["pip-compile"]["managerFilePatterns"], source)
    text = (CHECKOUT / lock).read_text(encoding="utf-8")
    head = re.match(r"(?:#.*?\r?\n)+# {4}(\S*)( .*?)?\r?\n", text)
    assert head is not None
    assert head[1] == "uv"
    words = shlex.split(head[2])
    assert words[:2] == ["pip", "compile"]
    assert [word for word in words[2:] if not word.startswith("-")] == [source]
    options = [word.partition("=") for word in words[2:] if word.startswith("-")]
    for option, equals, _ in options:
        assert option in ALLOWED_FOR_UV
        assert bool(equals) == (option in WITH_A_VALUE)
    given = {option: value for option, _, value in options}
    assert given == {
        "--universal": "", "--generate-hashes": "", "--python-version": "3.11",
        "--output-file": lock,
    }  # fmt: skip


def test_every_lock_has_a_source_that_scripts_lock_resolves(tmp_path: Path):
    """With a `uv` that says what it is asked, and does nothing."""
    (tmp_path / "scripts").mkdir()
    script = Path(shutil.copy(CHECKOUT / "scripts/lock", tmp_path / "scripts"))
    program = tmp_path / "uv"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$*"\n', encoding="utf-8")
    program.chmod(0o755)
    said = subprocess.run(
        ["sh", script, "--upgrade-package", "x"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    asked = [line.replace(" --quiet", "") for line in said.stdout.splitlines()]
    heads = [
        (CHECKOUT / lock).read_text(encoding="utf-8").splitlines()[1].removeprefix("#    uv ")
        for lock in LOCKS.values()
    ]
    assert sorted(asked) == sorted(f"{head} --upgrade-package x" for head in heads)
    texts = {file for file in files() if re.fullmatch(r"requirements(/[^/]+)?\.txt", file)}
    assert texts == set(LOCKS.values())


def test_a_version_scheme_fits_the_tag_that_is_pinned():
    rules = [rule for rule in CONFIG["packageRules"] if "versioning" in rule]
    assert rules
    for rule in rules:
        scheme = expression(rule["versioning"].removeprefix("regex:"))
        tags = [
            one.value
            for one in found()
            if one.name in rule["matchPackageNames"]
            and one.datasource in rule.get("matchDatasources", [one.datasource])
        ]
        assert tags
        for tag in tags:
            groups = scheme.search(tag)
            assert groups is not None
            assert groups["major"].isdigit()


def test_a_gpu_s_build_is_not_raised_to_one_for_processors():
    (rule,) = [one for one in CONFIG["packageRules"] if "server-cuda" in one.get("versioning", "")]
    scheme = expression(rule["versioning"].removeprefix("regex:"))
    kinds = {tag: scheme.search(tag) for tag in ("server-cuda-b12000", "server-b12000")}
    assert {found and found["compatibility"] for found in kinds.values()} == {
        "server-cuda", "server",
    }  # fmt: skip
    assert scheme.search("server-rocm-b12000") is None


def test_what_a_package_may_not_be_raised_to_is_what_its_requirements_say():
    (rule,) = [one for one in CONFIG["packageRules"] if "allowedVersions" in one]
    text = (CHECKOUT / "requirements/localllm.in").read_text(encoding="utf-8")
    assert f"huggingface_hub{rule['allowedVersions']}\n" in text
