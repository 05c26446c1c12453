"""The commands of the docs, run as they stand in a checkout of their own: no cloud is asked.

What would ask one (`up`, `down`, `doctor` of a stack) is run by the tests of whole stacks.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import checkout as checkouts
import pytest
import yaml
from checkout import Checkout
from docs_commands import commands, settings_of
from docs_pages import DOCS, README, Block, Page, page
from fake_gcs import FakeGcs

from stacks import PROGRAMS

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

MEANT = {
    "PROJECT_ID": "my-project",
    "KEY_ID": "AKIAEXAMPLE000000000",
    "OWNER/REPO": "example/llm-endpoint",
}
"""What a reader puts in the place of a word in capitals."""
ANSWERS = {"curl": "203.0.113.7", "gh": "123456789"}
"""By a program that a line asks, what it prints: the address of who types, a number of GitHub's."""
SECRET = "what-a-person-types-when-asked\n"
RENDERED = ("cpu-vm", "gpu-vm", "gke-ovms", "gke-colab")
"""The programs that put files somewhere."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which a person has looked whether all is there for a cloud's stack."""
    made = checkouts.make(tmp_path_factory.mktemp("docs"))
    doctor = made.run("scripts/doctor", "cpu-vm", GOOGLE_APPLICATION_CREDENTIALS="/nowhere.json")
    assert "Traceback" not in doctor.text, doctor.text
    assert "credentials" in doctor.text, doctor.text
    return made


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs that lines ask, each of which answers at once."""
    folder = tmp_path_factory.mktemp("programs")
    for name, said in ANSWERS.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\nprintf %s {said}\n", encoding="utf-8")
        file.chmod(0o755)
    return folder


def typed(checkout: Checkout, line: str, programs: Path, **environment: str) -> str:
    """Type one line in the checkout and return what it printed; it has to succeed."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=checkout.root,
        env=checkout.environment(PATH=path, **environment),
        input=SECRET,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def configuring(block: Block) -> list[str]:
    """Return the lines of a block that make or configure a stack, without what follows them."""
    found = (line.partition(" && scripts/up")[0] for line in block.text.splitlines())
    return [
        line
        for line in found
        if re.match(r"scripts/pulumi (config (set|rm)|stack init) ", line)
        # Outputs are another stack's, which is up.
        and "stack output" not in line
    ]


def blocks_with_configuration() -> Iterator[tuple[str, int, Block]]:
    pages = [README, *sorted(DOCS.glob("*.md"))]
    for found in map(page, pages):
        for number, block in enumerate(found.blocks("sh")):
            if configuring(block):
                yield found.name, number, block


@pytest.mark.parametrize(
    ("name", "block"),
    [
        pytest.param(name, block, id=f"{name}-{at}")
        for name, at, block in blocks_with_configuration()
    ],
)
def test_the_lines_that_configure_a_stack_run_as_they_stand(
    checkout: Checkout, programs: Path, name: str, block: Block
):
    lines = configuring(block)
    text = "\n".join(lines)
    found = map(settings_of, commands(Page(name, f"```sh\n{text}\n```\n")))
    settings = [setting for setting in found if setting is not None]
    stacks = {setting.stack for setting in settings if setting.stack in PROGRAMS}
    made = {line.split()[3] for line in lines if " stack init " in line}
    for stack in stacks - made:
        checkout.good("scripts/pulumi", "stack", "init", stack)
    try:
        for line in lines:
            typed(checkout, _meant(line), programs)
        for stack in stacks:
            file = checkout.root / "stacks" / f"Pulumi.{stack}.yaml"
            written = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
            keys = {key.removeprefix("llm-endpoint:") for key in written}
            set_last = {one.key: one for one in settings if one.stack == stack}
            expected = {
                key for key, one in set_last.items() if one.value or "--secret" in one.command.words
            }
            assert expected <= keys, block.text
            assert SECRET.strip() not in file.read_text(encoding="utf-8")
            if stack in RENDERED:
                typed(checkout, f".venv/bin/python -m scripts.render {stack}", programs)
    finally:
        for stack in stacks:
            checkout.good("scripts/pulumi", "stack", "rm", stack, "--yes")


def _meant(line: str) -> str:
    for word, value in MEANT.items():
        line = line.replace(word, value)
    return re.sub(r"\bBUCKET\b", "models", line)


@pytest.mark.parametrize("stack", RENDERED)
def test_what_a_machine_or_cluster_would_get_is_written_without_a_cloud(
    checkout: Checkout, programs: Path, stack: str, tmp_path: Path
):
    line = f".venv/bin/python -m scripts.render {stack} --out DIR"
    assert f"`{line}`" in page(DOCS / f"{stack}.md").text
    typed(checkout, line.replace("DIR", str(tmp_path / "out")), programs)
    assert any((tmp_path / "out").iterdir())


def test_the_docs_own_parts_are_renewed_by_the_line_that_says_so(
    checkout: Checkout, programs: Path
):
    assert "`python -m scripts.reference`" in page(README).text
    said = typed(checkout, ".venv/bin/python -m scripts.reference --check", programs)
    assert "files are current" in said


def test_a_registry_is_filled_checked_and_read_by_hand_as_its_page_says(
    checkout: Checkout, programs: Path, tmp_path: Path
):
    (block,) = [
        one
        for one in page(DOCS / "model-registry.md").blocks("sh")
        if "scripts.model_registry push" in one.text
    ]
    model = tmp_path / "resnet50-v2"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"\x08\x07 a model")
    cloud = FakeGcs("models")
    try:
        for line in block.text.splitlines():
            placed = line.replace("./resnet50-v2", str(model)).replace(
                "./here", str(tmp_path / "here")
            )
            typed(
                checkout,
                _meant(placed),
                programs,
                STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{cloud.port}",
            )
    finally:
        cloud.close()
    pulled = [file for file in (tmp_path / "here").rglob("model.onnx") if file.is_file()]
    assert [file.read_bytes() for file in pulled] == [b"\x08\x07 a model"]


def test_the_readmes_preview_of_local_is_markdown_of_what_would_be_made(
    checkout: Checkout, programs: Path
):
    assert "scripts/preview local\n" in "".join(block.text for block in page(README).blocks("sh"))
    said = typed(checkout, "scripts/preview local", programs)
    assert said.startswith("<!-- llm-endpoint preview local -->")
    assert "local-server" in said
