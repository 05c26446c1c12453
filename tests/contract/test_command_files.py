"""`assetPaths` and `archivePaths`: which files, and in what form."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from plugin_client import ARCHIVE, ASSET, SIGNATURE, Json, Plugin

LONG = "d" * 60 + "/" + "f" * 60 + ".txt"
LONGER = "/".join("e" * 60 for _ in range(4)) + "/" + "g" * 110 + ".txt"
FILES = [
    "a.txt", "b.js", ".hidden", "sub/c.txt", "sub/d e.js", "sub/deep/x1.txt", "sub/deep/x2.txt",
    "sub/ünï.txt", LONG, LONGER,
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    (root / "empty").mkdir()
    (root / "link.txt").symlink_to("a.txt")
    return root


def asset(tree: Path, name: str) -> Json:
    content = (tree / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {SIGNATURE: ASSET, "hash": digest, "path": f"{tree}/{name}"}


def found(plugin: Plugin, tree: Path, globs: list[str]) -> set[str]:
    assets = plugin.create({"create": "true", "dir": str(tree), "assetPaths": list(globs)}).outputs[
        "assets"
    ]
    assert isinstance(assets, dict)
    assert assets == {name: asset(tree, name) for name in assets}
    return set(assets)


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        ([], set()),
        (["*"], {"a.txt", "b.js", ".hidden", "link.txt"}),
        (["*.txt"], {"a.txt", "link.txt"}),
        (["**.txt", "!*.txt", "!{d,e}**", "!sub/?*"], {"sub/deep/x1.txt", "sub/deep/x2.txt"}),
        (["sub/*"], {"sub/c.txt", "sub/d e.js", "sub/ünï.txt"}),
        (["sub/**.js"], {"sub/d e.js"}),
        (["s**/deep/*"], {"sub/deep/x1.txt", "sub/deep/x2.txt"}),
        (["?.??"], {"b.js"}),
        (["sub/deep/x[1].txt"], {"sub/deep/x1.txt"}),
        (["sub/deep/x[!1].txt"], {"sub/deep/x2.txt"}),
        (["sub/deep/x[0-1].txt"], {"sub/deep/x1.txt"}),
        (["sub/deep/x[!0-1].txt"], {"sub/deep/x2.txt"}),
        (["{a,b}.{txt,js}"], {"a.txt", "b.js"}),
        (["sub/ü*"], {"sub/ünï.txt"}),
        (["a\\.txt"], {"a.txt"}),
        (["*.txt", "!a*"], {"link.txt"}),
        (["!a*", "*.txt"], {"a.txt", "link.txt"}),
        (["*.txt", "!*", "a.*"], {"a.txt"}),
        (["./a.txt", "sub", "no such"], set()),
    ],
)
def test_globs_choose_files(plugin: Plugin, tree: Path, globs: list[str], names: set[str]):
    assert found(plugin, tree, globs) == names


def test_files_are_looked_for_after_the_command(plugin: Plugin, tmp_path: Path):
    made = plugin.create({"create": "echo x > made", "dir": str(tmp_path), "assetPaths": ["*"]})
    assert made.outputs["assets"] == {"made": asset(tmp_path, "made")}


def test_without_dir_files_are_looked_for_in_the_plugins_folder(plugin: Plugin, folder: Path):
    made = plugin.create({"create": "echo x > here", "assetPaths": ["her?"]})
    assert made.outputs["assets"] == {"here": asset(folder, "here")}


def test_a_relative_dir_gives_relative_paths(plugin: Plugin, folder: Path):
    (folder / "below").mkdir()
    made = plugin.create({"create": "echo x > it", "dir": "below/.", "assetPaths": ["*"]})
    assets = made.outputs["assets"]
    assert isinstance(assets, dict)
    assert isinstance(assets["it"], dict)
    assert assets["it"]["path"] == "below/it"


def test_an_archive_holds_the_files_and_has_the_hash_of_a_tar_file(plugin: Plugin, tree: Path):
    names = ["a.txt", "b.js"]
    made = plugin.create({"create": "true", "dir": str(tree), "archivePaths": list(names)})
    assert made.outputs["archive"] == {
        SIGNATURE: ARCHIVE,
        "assets": {name: asset(tree, name) for name in names},
        "hash": "00ea16eb975c0470aea4cd923601fe95c9e647b27938bf89a9b1f8bbb421b301",
    }


@pytest.mark.parametrize(
    ("glob", "digest"),
    [
        ("no such", "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"),
        ("sub/ü*", "7f5147b429f659df1128c4c9630c1f9f0cc887e4295c7591abb7c4964265723d"),
        ("d**", "40393b618c113dd0549903c8fb62bfb8d9db96a666a7111603b2d91e961efd0a"),
        ("e**", "67d9dcec168e1a142008c22f67b475e9d774cf6d5f5d65dc207f804c919e56e4"),
    ],
)
def test_the_hash_of_an_archive_depends_on_names_and_contents_alone(
    plugin: Plugin, tree: Path, glob: str, digest: str
):
    made = plugin.create({"create": "true", "dir": str(tree), "archivePaths": [glob]})
    archive = made.outputs["archive"]
    assert isinstance(archive, dict)
    assert archive["hash"] == digest


def test_results_of_an_update_without_globs_stay(plugin: Plugin, tree: Path):
    inputs: dict[str, Json] = {"create": "true", "dir": str(tree), "assetPaths": ["a.txt"]}
    state = plugin.create(inputs).outputs
    updated = plugin.update(state, {"create": "echo new"})
    assert updated["assets"] == state["assets"]
    assert updated["stdout"] == "new"


def test_a_preview_has_no_files(plugin: Plugin, tree: Path):
    inputs: dict[str, Json] = {"create": "true", "dir": str(tree), "assetPaths": ["*"]}
    assert "assets" not in plugin.create(inputs, preview=True).outputs


@pytest.mark.parametrize("glob", ["[a", "[]", "[!]", "[z-a]", "[a-bc]", "x[a-"])
def test_a_malformed_glob_is_an_error_once_the_command_has_run(
    plugin: Plugin, tmp_path: Path, glob: str
):
    failure = plugin.failure("touch ran", dir=str(tmp_path), assetPaths=[glob])
    assert failure.code == "UNKNOWN"
    assert (tmp_path / "ran").exists()


def test_a_link_to_a_folder_can_not_be_an_asset(plugin: Plugin, tree: Path, tmp_path: Path):
    (tmp_path / "linked").symlink_to(tree)
    failure = plugin.failure("true", dir=str(tmp_path), assetPaths=["*"])
    assert f"{tmp_path}/linked" in failure.text
    assert "is a directory" in failure.text


def test_a_broken_link_can_not_be_an_asset(plugin: Plugin, tmp_path: Path):
    (tmp_path / "broken").symlink_to("nowhere")
    failure = plugin.failure("true", dir=str(tmp_path), assetPaths=["*"])
    assert f"{tmp_path}/broken" in failure.text


def test_files_are_not_collected_from_an_empty_dir(plugin: Plugin):
    assert plugin.failure("true", dir="", assetPaths=["*"]).code == "UNKNOWN"


def test_files_are_not_collected_after_a_failure(plugin: Plugin, tree: Path):
    failure = plugin.failure("exit 1", dir=str(tree), assetPaths=["[a"])
    assert failure.text.startswith("exit status 1")
