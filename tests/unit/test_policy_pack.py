"""The rules as pulumi-policy asks them, and how the pack is started."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from policy_fixtures import SERVES, firewall, machine

from policy import told
from policy.pack import Pack, properties
from policy.resources import UNKNOWN, Resource
from policy.rule import Rule, StackRule
from scripts.bootstrap import go_build, policy
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.plugins import Plan
from scripts.bootstrap.pulumi_cli import Cli

CHECKOUT = Path(__file__).resolve().parents[2]
LAUNCHER = CHECKOUT / go_build.SOURCES / "launchers" / "pulumi-analyzer-policy-python"


class NotKnown(Exception):
    pass


class Unsure(Exception):
    pass


class Shown(Mapping[str, object]):
    """Raises where a value that is not known is looked at, as pulumi-policy's own mappings do."""

    def __init__(self, held: Mapping[str, object]) -> None:
        self._held = held

    def __getitem__(self, name: str) -> object:
        value = self._held[name]
        if value is UNKNOWN:
            raise NotKnown
        return Shown(value) if isinstance(value, dict) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


@dataclass
class Options:
    protect: bool = False


@dataclass
class Asked:
    """What pulumi-policy shows of a resource."""

    resource_type: str
    name: str
    props: Mapping[str, object]
    urn: str = ""
    opts: Options = field(default_factory=Options)
    config: Mapping[str, object] = field(default_factory=dict)
    resources: list[Asked] = field(default_factory=list)

    def get_config(self) -> Mapping[str, object]:
        return self.config


def asked(resource: Resource, **more: object) -> Asked:
    urn = f"urn:pulumi:{resource.stack}::llm-endpoint::{resource.type}::{resource.name}"
    found = Asked(resource.type, resource.name, Shown(resource.props), urn)
    return replace(found, **more)


@pytest.fixture
def pack() -> Pack:
    return Pack(NotKnown, Unsure)


def test_the_rules_need_nothing_but_the_standard_library_until_they_judge_a_machine():
    """Scripts check the pack's configuration with any Python, and the pack runs in its own."""
    allowed = {*sys.stdlib_module_names, "policy", "yaml"}
    for file in sorted(CHECKOUT.glob("policy/**/*.py")):
        if file.name in ("__main__.py", "told.py") and file.parent.name == "policy":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = [
            name
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        assert {name.partition(".")[0] for name in names} <= allowed, file
        at_the_top = [node for node in tree.body if isinstance(node, ast.Import)]
        assert "yaml" not in {alias.name for node in at_the_top for alias in node.names}


def resource_rule(pack: Pack, name: str) -> Rule:
    return next(one for one in pack.rules() if isinstance(one, Rule) and one.name == name)


def stack_rule(pack: Pack, name: str) -> StackRule:
    return next(one for one in pack.rules() if isinstance(one, StackRule) and one.name == name)


def test_a_violation_is_reported(pack: Pack):
    said: list[str] = []
    validate = pack.of_resource(resource_rule(pack, "open-to-the-world"))
    validate(asked(firewall("203.0.113.0/24")), said.append)
    assert said == []
    validate(asked(firewall("0.0.0.0/0")), said.append)
    assert len(said) == 1


def test_what_is_not_known_is_raised_for_pulumi_policy_to_show_as_advice(pack: Pack):
    said: list[str] = []
    validate = pack.of_resource(resource_rule(pack, "own-identity"))
    unknown = machine(serviceAccount={"email": UNKNOWN})
    with pytest.raises(Unsure, match=r"it: serviceAccount\.email is not known before it is made"):
        validate(asked(unknown), said.append)
    assert said == []


def test_an_exception_in_the_configuration_lets_through_the_stack_of_the_urn(pack: Pack):
    said: list[str] = []
    validate = pack.of_resource(resource_rule(pack, "open-to-the-world"))
    config = {"exceptions": [{"stack": "dev", "resource": "it", "reason": "a test"}]}
    validate(asked(firewall("0.0.0.0/0"), config=config), said.append)
    assert said == []


def test_a_stack_s_violation_names_the_resource_by_its_urn(pack: Pack):
    said: list[tuple[str, str | None]] = []
    validate = pack.of_stack(stack_rule(pack, "idle-pods-park"))
    serving = asked(SERVES)
    validate(
        replace(asked(SERVES), resources=[serving]), lambda text, urn: said.append((text, urn))
    )
    ((message, urn),) = said
    assert "nothing parks chat-set" in message
    assert urn == serving.urn


def test_a_stack_is_judged_by_what_was_registered_where_outputs_are_not_there_yet(pack: Pack):
    said: list[str] = []
    pack.of_resource(resource_rule(pack, "labels"))(asked(SERVES), said.append)
    validate = pack.of_stack(stack_rule(pack, "idle-pods-park"))
    without_outputs = asked(replace(SERVES, props={}))
    together = replace(asked(SERVES), resources=[without_outputs])
    validate(together, lambda text, _urn: said.append(text))
    assert len(said) == 1


def test_the_engine_refuses_an_exception_without_a_reason_by_each_rule_s_schema(pack: Pack):
    for rule in pack.rules():
        schema = properties(rule)["exceptions"]
        assert isinstance(schema, Mapping)
        assert "reason" in schema["items"]["required"]


def test_a_stack_s_own_configuration_is_told_to_the_rules_that_judge_by_it():
    given = {"spot": "true", "keep_data": "true", "labels": "owner=me"}
    assert told.of_values(given, "cpu-vm") == {
        "told-the-configuration": {"told": True},
        "spot-as-configured": {"spot": True},
        "deletion-protection": {"keep_data": True},
        "labels": {"labels": {"owner": "me"}},
        "spending-stop": {"schedule": ""},
    }


def test_a_program_is_told_only_what_it_has_keys_for():
    assert told.of_values({}, "local") == {"told-the-configuration": {"told": True}}


def test_a_configuration_that_can_not_be_read_is_said_in_one_line(capsys: pytest.CaptureFixture):
    assert told.main(["no-such-program"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    root = tmp_path / "checkout"
    (root / "policy").mkdir(parents=True)
    (root / "policy" / "config.json").write_text('{"labels": "advisory"}', encoding="utf-8")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf %s "$TOLD"\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(
        "scripts.bootstrap.virtual_environment.ensure", lambda *_asked: Path("unused")
    )
    return Prepared(
        Checkout(root),
        python,
        Cli(tmp_path / "pulumi", "v3.210.0", "built here"),
        Plan("engine"),
        Backend("file:///nowhere", "the default", None),
        {"TOLD": '{"labels": {"labels": {"owner": "me"}}}', "PATH": "/usr/bin:/bin"},
    )


def test_pulumi_is_told_the_pack_and_what_the_stack_says_to_it(ready: Prepared):
    arguments = policy.arguments(ready, {}, "cpu-vm")
    assert arguments[:3] == ["--policy-pack", "policy", "--policy-pack-config"]
    assert json.loads(Path(arguments[3]).read_text(encoding="utf-8")) == {
        "labels": {"enforcementLevel": "advisory", "labels": {"owner": "me"}}
    }


def test_a_stack_whose_configuration_can_not_be_read_is_judged_without_it(
    ready: Prepared, capsys: pytest.CaptureFixture
):
    ready.python.write_text("#!/bin/sh\necho no such program >&2; exit 1\n", encoding="utf-8")
    file = policy.arguments(ready, {}, "cpu-vm")[3]
    assert json.loads(Path(file).read_text(encoding="utf-8")) == {"labels": "advisory"}
    assert "not told what cpu-vm is configured for: no such program" in capsys.readouterr().err


def test_a_pack_s_configuration_that_is_wrong_stops_before_the_engine(ready: Prepared):
    file = ready.checkout.root / "policy" / "config.json"
    file.write_text('{"labels": "off"}', encoding="utf-8")
    with pytest.raises(BootstrapError, match="the level of labels is 'off'"):
        policy.arguments(ready, {})


def launched(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAUNCHER, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_launcher_starts_the_python_that_the_pack_names(tmp_path: Path):
    pack = tmp_path / "policy"
    python = tmp_path / "a venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    pack.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s|" "$@" "$PYTHONHOME"\n', encoding="utf-8")
    python.chmod(0o755)
    done = launched(pack, "127.0.0.1:1", ".", "-virtualenv=../a venv", "-x=y", PYTHONHOME="/wrong")
    assert done.stdout == "-u|-m|pulumi.policy|127.0.0.1:1|.|-x=y||"


def test_the_launcher_says_what_makes_an_environment_that_is_not_there(tmp_path: Path):
    done = launched(tmp_path, "127.0.0.1:1", ".", "-virtualenv=../none")
    assert done.returncode == 1
    assert "../none/bin/python, which is not there" in done.stderr
    assert "next: scripts/preview" in done.stderr
