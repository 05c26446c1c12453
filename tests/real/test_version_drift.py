"""What ours relies on is what the pinned releases take, as they say themselves.

Held here are those that can be had: llama-server, built; llama-cpp-python's server, by its sources;
restic and Caddy, built; Pulumi's CLI, the one at hand. Of vLLM and OpenVINO Model Server a record
is all there is (tests/unit/test_versions_relied.py). Objects for clusters: test_gke_objects.py and
test_gke_schemas.py, on a real control plane.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import requests
from colab.restic import restic_program
from gateway_caddy import caddy_program, free_port

from components.engines import localllm
from scripts.bootstrap import pins, pulumi_cli, virtual_environment
from scripts.bootstrap.event_log import VARIABLES
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import cache_root, this_checkout
from scripts.bootstrap.processes import one_at_a_time
from scripts.bootstrap.published import Releases
from scripts.bootstrap.staging import staged
from scripts.models.stand_in import write_stand_in
from scripts.serve import llama_server
from scripts.versions import relied

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

CHECKOUT = Path(__file__).resolve().parents[2]
THINGS = relied.read(CHECKOUT)
SECONDS = 600
SECONDS_TO_START = 120
# llama.cpp's help breaks its lines before this column.
HELP_COLUMN = 40
FLAG = re.compile(r"(?<![\w<|.-])--?[a-zA-Z][\w.-]*")
REMOVED = "the argument has been removed"


def thing(name: str) -> relied.Relied:
    return relied.thing(THINGS, name)


def said(command: list[str], **variables: str) -> str:
    """Return what a program prints; it has to end well."""
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def flags_of_help(text: str) -> set[str]:
    """Return the flags that a help lists, whose lines begin with them."""
    lines = re.findall(r"^\s*(-[^\n]*)$", text, re.MULTILINE)
    heads = (re.split(r"\s{2,}", line.replace(",  ", ", "))[0] for line in lines)
    return {flag for head in heads for flag in FLAG.findall(head)}


def lacking(program: Path, name: str, **variables: str) -> dict[str, list[str]]:
    """Return what `relied.toml` lists of the commands of a thing, and its program does not take."""
    found: dict[str, list[str]] = {}
    for line in sorted(thing(name).of("commands")):
        words = [word for word in line.split() if not word.startswith("-")]
        text = said([str(program), *words, "--help"], **variables)
        known = flags_of_help(text)
        if missing := [word for word in line.split() if word.startswith("-") and word not in known]:
            found[" ".join(words)] = missing
    return found


@pytest.fixture(scope="module")
def server() -> Path:
    (program,) = llama_server.program("native", cache_root(os.environ), print)
    return Path(program)


@cache
def described(program: Path) -> dict[str, str]:
    """Return what `llama-server --help` says of each flag."""
    found: dict[str, str] = {}
    flags: list[str] = []
    for line in said([str(program), "--help"]).splitlines():
        head, text = line, ""
        if len(line) > HELP_COLUMN and line[HELP_COLUMN - 1] == " ":
            head, text = line[:HELP_COLUMN], line[HELP_COLUMN:]
        if line.startswith("-") and not line.startswith("---"):
            flags = FLAG.findall(head)
            found |= dict.fromkeys(flags, "")
        for flag in flags:
            found[flag] += f" {text.strip()}"
    return found


def test_the_built_llama_server_takes_every_flag_that_is_relied_on(server: Path):
    assert thing("llama_server").of("flags") <= set(described(server))


def test_the_record_of_llama_server_s_flags_is_its_own_help(server: Path):
    record = (CHECKOUT / thing("llama_server").records["flags"]).read_text(encoding="utf-8")
    # Of the images' build there is no other source than that of the built one, some builds apart.
    source = llama_server.package_version().partition(".")[0]
    assert f"b{source}" in record
    removed = {flag for flag, text in described(server).items() if REMOVED in text}
    assert removed
    assert relied.recorded(record) == set(described(server)) - removed


def test_llama_server_knows_the_variable_that_keeps_its_log_readable(server: Path):
    assert b"GGML_NO_BACKTRACE" in server.read_bytes()


@pytest.fixture(scope="module")
def url(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the built server serves the stand-in."""
    folder, port = tmp_path_factory.mktemp("llama-server"), free_port()
    write_stand_in(folder / "stand-in.gguf")
    words = ["--model", str(folder / "stand-in.gguf"), "--host", "127.0.0.1", "--port", str(port)]
    words += ["--ctx-size", "2048", "--embeddings", "--pooling", "mean", "--no-ui", "--offline"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, *words], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            with suppress(requests.ConnectionError):
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=10).ok:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_the_built_llama_server_answers_at_every_path_that_is_relied_on(url: str):
    assert requests.get(f"{url}/v1/no-such-path", timeout=30).status_code == 404
    for path in sorted(thing("llama_server").of("paths")):
        statuses = {
            requests.request(method, f"{url}{path}", json={}, timeout=60).status_code
            for method in ("GET", "POST")
        }
        assert statuses != {404}, path


def test_restic_takes_every_flag_and_variable_that_is_relied_on():
    program = restic_program()
    assert thing("restic").pins["images.restic"] in said([str(program), "version"])
    assert lacking(program, "restic") == {}
    content = program.read_bytes()
    assert [one for one in thing("restic").of("variables") if one.encode() not in content] == []


def test_caddy_takes_every_flag_that_is_relied_on():
    program = caddy_program()
    assert thing("caddy").pins["caddy"] in said([str(program), "version"])
    assert lacking(program, "caddy") == {}


def test_pulumi_takes_every_flag_that_is_relied_on(tmp_path: Path):
    here = this_checkout()
    pinned = pins.load(here.root / "pins.toml")
    releases = Releases(pinned.release, cache_root(os.environ))
    cli = pulumi_cli.choose(here, pinned, releases, os.environ, Memory(tmp_path / "answers.json"))
    home = {"PULUMI_HOME": str(tmp_path), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    assert lacking(cli.program, "pulumi", **home, **VARIABLES) == {}


def locked(package: str, lock: Path) -> str:
    """Return a package's lines in a lock, with its hashes."""
    text = lock.read_text(encoding="utf-8")
    found = re.search(rf"^{package}==(?:[^\\\n]|\\\n)*\n", text, re.MULTILINE)
    assert found is not None, f"{lock} pins no {package}"
    return found[0]


@pytest.fixture(scope="module")
def served_by_llama_cpp_python() -> Path:
    """A folder with `settings.py` and `app.py` of the pinned server's sources, fetched once."""
    requirements = CHECKOUT / "requirements"
    wanted = locked("llama-cpp-python", requirements / "localllm.txt")
    version = wanted.split()[0].partition("==")[2]
    target = cache_root(os.environ) / "drift" / f"llama-cpp-python-{version}"
    with one_at_a_time(target.parent / "lock", "fetching llama-cpp-python's sources"):
        if not target.is_dir():
            with staged(target) as partial:
                fetch(partial, wanted, requirements / "localllm-build.txt")
    return target


def fetch(into: Path, wanted: str, tools: Path) -> None:
    """Put the server's files into `into`; pip asks the package's build tools for its name."""
    variables = virtual_environment.pip_environment(os.environ)
    work = into / "work"
    work.mkdir()
    (work / "wanted.txt").write_text(wanted, encoding="utf-8")
    install = virtual_environment.pip_install(Path(sys.executable))
    said(
        [*install, "--no-deps", "--require-hashes", "--target", str(work / "tools"),
         "--requirement", str(tools)],
        **variables,
    )  # fmt: skip
    said(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-binary", "llama-cpp-python", "--require-hashes", "--dest", str(work / "fetched"),
         "--requirement", str(work / "wanted.txt")],
        **{**variables, "PYTHONPATH": str(work / "tools")},
    )  # fmt: skip
    (archive,) = (work / "fetched").glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as packed:
        root = archive.name.removesuffix(".tar.gz")
        for name in ("settings.py", "app.py"):
            member = packed.extractfile(f"{root}/llama_cpp/server/{name}")
            assert member is not None
            (into / name).write_bytes(member.read())
    shutil.rmtree(work)


def options(file: Path) -> set[str]:
    """Return the fields of the classes in a module: what the server reads from its environment."""
    return {
        statement.target.id
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def test_localllm_s_server_has_every_option_that_is_relied_on(served_by_llama_cpp_python: Path):
    known = options(served_by_llama_cpp_python / "settings.py")
    assert {name.lower() for name in thing("localllm").of("variables")} <= known
    assert {flag.removeprefix("--") for flag in localllm._FLAGS} <= known


def test_localllm_s_server_answers_at_every_path_that_is_relied_on(
    served_by_llama_cpp_python: Path,
):
    text = (served_by_llama_cpp_python / "app.py").read_text(encoding="utf-8")
    # FastAPI's own, which the server leaves on.
    own = {"/openapi.json"}
    assert "openapi_url" not in text
    assert thing("localllm").of("paths") - own <= set(re.findall(r'"(/[a-z0-9/_.-]+)"', text))
