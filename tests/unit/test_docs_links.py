"""Links lead somewhere, and every page can be found from the README."""

import re
from pathlib import PurePosixPath

from docs_pages import DOCS, README, Page, page, pages

from scripts.reference.documents import CHECKOUT
from stacks import PROGRAMS

_STACK_SECTIONS = ("What it makes", "Configuration", "Outputs", "When it fails")
_PERSONS = re.compile(r"stacks/Pulumi\.")
"""What is a person's own, and so in no checkout."""
_STAGE_UNIT = "llm-endpoint-{}.service"


def target_of(link: str, found: Page) -> tuple[str, str]:
    """Return the page and the anchor that a relative link leads to."""
    path, _, anchor = link.partition("#")
    if not path:
        return found.name, anchor
    steps: list[str] = []
    for part in (PurePosixPath(found.name).parent / path).parts:
        if part == "..":
            steps.pop()
        else:
            steps.append(part)
    return "/".join(steps), anchor


def test_relative_links_lead_to_files_and_headings_that_are_there():
    known = pages()
    broken: list[str] = []
    for found in known.values():
        for link in found.links():
            if re.match(r"[a-z]+:", link):
                continue
            target, anchor = target_of(link, found)
            if not (CHECKOUT / target).exists():
                broken.append(f"{found.name}: {link}")
            elif anchor and anchor not in known[target].anchors():
                broken.append(f"{found.name}: {link} (no such heading)")
    assert broken == []


def test_links_elsewhere_are_https():
    elsewhere = {link for found in pages().values() for link in found.links() if ":" in link}
    assert {link for link in elsewhere if not link.startswith("https://")} == set()


def test_every_page_is_linked_from_the_readme():
    linked = {target_of(link, page(README))[0] for link in page(README).links()}
    own = {name for name in pages() if name.startswith("docs/") and name.count("/") == 1}
    assert own - linked == set()


def test_the_page_of_each_stack_has_the_same_sections():
    for name in PROGRAMS:
        headings = page(DOCS / f"{name}.md").headings()
        missing = [section for section in _STACK_SECTIONS if section not in headings]
        assert missing == [], name


def test_paths_of_this_project_that_pages_name_are_there():
    tops = {entry.name for entry in CHECKOUT.iterdir() if not entry.name.startswith(".")}
    missing: list[str] = []
    for found in pages().values():
        for code in found.inline_code():
            path = code.removesuffix("/")
            if not re.fullmatch(r"[a-z_]+(/[\w.-]+)+", path):
                continue
            if path.split("/")[0] in tops and not (CHECKOUT / path).exists():
                missing.append(f"{found.name}: {code}")
    assert missing == []


def test_the_drawing_of_the_boot_is_what_the_units_require():
    (block,) = [
        one
        for one in page(DOCS / "architecture.md").blocks("mermaid")
        if "packages -->" in one.text
    ]
    drawn = set(re.findall(r"^ +([\w-]+) --> ([\w-]+)$", block.text, re.MULTILINE))
    units = CHECKOUT / "components" / "rendering" / "files"
    required: set[tuple[str, str]] = set()
    for stage in {stage for edge in drawn for stage in edge}:
        file = units / "units" / _STAGE_UNIT.format(stage)
        lines = (file if file.exists() else units / _STAGE_UNIT.format(stage)).read_text()
        for before in re.findall(r"\bllm-endpoint-([\w-]+)\.service", _requires(lines)):
            required.add((before, stage))
    stages = {stage for edge in drawn for stage in edge}
    assert drawn == {edge for edge in required if edge[0] in stages}


def _requires(unit: str) -> str:
    return "\n".join(line for line in unit.splitlines() if line.startswith("Requires="))
