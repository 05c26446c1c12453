"""What ours writes on command lines, into variables and requests is what `relied.toml` lists.

That list is held to records of the pinned releases by test_versions_relied.py.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from rendered_commands import VARIANTS, Command, commands

from components.container_images import container
from components.engines import localllm
from components.launch import Accelerator
from components.rendering.kubernetes.colab.names import NOTEBOOK_PORT, TOKEN_VARIABLE
from components.rendering.process import process_launch
from machine.gateway import routes
from scripts.reference import ENGINES
from scripts.render import rendered
from scripts.verify.run import VERSION_SOURCES
from scripts.versions import relied

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = CHECKOUT / "components/rendering/files"
THINGS = relied.read(CHECKOUT)
OF_ENGINE = {"llama_cpp": "llama_server", "vllm": "vllm", "ovms": "ovms", "localllm": "localllm"}
API = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/models")
OPERATOR_IMAGE = "openvino/model_server:2026.2.1@sha256:" + 64 * "a"
BALANCED = {"allowed_cidrs": "203.0.113.7/32"}
CLUSTERS = (
    ("gke-ovms", {"replicas": "2", "max_replicas": "3", "max_nodes": "3"}),
    ("gke-ovms", {"expose": "load_balancer", **BALANCED}),
    ("gke-ovms", {"expose": "gateway", "domain": "llm.example.org", **BALANCED}),
    ("gke-ovms", {"deploy": "kserve"}),
    (
        "gke-ovms",
        {
            **{"deploy": "operator", "operator_subscription": "true"},
            "container_image": OPERATOR_IMAGE,
        },
    ),
    ("gke-colab", {}),
)


def thing(name: str) -> relied.Relied:
    return relied.thing(THINGS, name)


def of_engine(engine: str) -> list[Command]:
    found = [one for name in VARIANTS for one in commands(name) if one.engine == engine]
    assert found
    return found


def test_every_engine_has_a_table():
    assert set(OF_ENGINE) == set(ENGINES)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_server_is_started_with_flags_and_variables_that_are_listed(name: str):
    for one in commands(name):
        listed = thing(OF_ENGINE[one.engine])
        assert one.flags <= listed.of("flags")
        # Docker's own, which every container gets.
        places = {"HOME", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}
        known = listed.of("variables") | set(listed.unrecorded_variables) | places
        assert one.variables <= known
        assert one.probes <= listed.of("paths")


@pytest.mark.parametrize("engine", OF_ENGINE)
def test_nothing_is_listed_that_no_server_is_started_with(engine: str):
    listed, started = thing(OF_ENGINE[engine]), of_engine(engine)
    flags = {flag for one in started for flag in one.flags}
    if engine == "llama_cpp":
        words = container(engine, Accelerator.CUDA).lists_devices
        flags |= {word for word in words if word.startswith("--")}
    if engine == "localllm":
        words = localllm.pull(localllm.LocalllmOptions("o", "r", 4096, selector="m.gguf"))
        flags |= {word for word in words if word.startswith("--")}
    assert flags == listed.of("flags")
    variables = {name for one in started for name in one.variables}
    assert listed.of("variables") | set(listed.unrecorded_variables) <= variables
    asked = {path for one in started for path in one.probes}
    api = ENGINES[engine].api_path
    asked |= {path.replace("/v1", api, 1) for path in API}
    asked |= {path for name, (path, _) in VERSION_SOURCES.items() if name == engine}
    assert listed.of("paths") <= asked


def test_the_gateway_passes_the_paths_on_that_are_looked_for():
    for path in API:
        method = "GET" if path == "/v1/models" else "POST"
        assert isinstance(routes.route(method, path), routes.Route)


def test_a_launch_without_a_place_has_no_other_flags():
    for engine, launch in ENGINES.items():
        words = process_launch(launch).arguments
        flags = {word for word in words if word.startswith("--")}
        assert flags <= thing(OF_ENGINE[engine]).of("flags")


def command_of(words: list[str]) -> tuple[str, frozenset[str]]:
    """Return a command line's words before its first flag, and its flags."""
    names = []
    for word in words:
        if word.startswith("-") or not re.fullmatch(r"[a-z]+", word):
            break
        names.append(word)
    return " ".join(names), frozenset(word for word in words if word.startswith("--"))


def listed_commands(name: str) -> dict[str, frozenset[str]]:
    return dict(command_of(line.split()) for line in thing(name).of("commands"))


def restic_calls() -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each call of restic in a runtime's scripts: what it does, and its flags."""
    for script in sorted((FILES / "colab").glob("*.sh")):
        code = re.sub(r"^\s*#.*$", "", script.read_text(), flags=re.MULTILINE)
        code = code.replace("\\\n", " ")
        # Both functions hand their arguments on, after flags of their own.
        own = {
            name: set(re.findall(r"--[a-z-]+", line))
            for name, line in zip(("bounded", "step"), handed_on(), strict=True)
        }
        for name, line in re.findall(r"\b(bounded (?=\S)|step )((?:(?!&&|\|\||;|2>&1).)*)", code):
            words = re.sub(r"^(\d+|\"\$[A-Z_]+\") ", "", line).split()
            plain = [word for word in words if re.fullmatch(r"[a-z]+", word)]
            did = plain[:2] if plain[0] == "repair" else plain[:1]
            flags = {word for word in words if word.startswith("--")}
            yield " ".join(did), frozenset(flags | own[name.strip()])


def handed_on() -> tuple[str, str]:
    """Return the lines by which common.sh and check.sh call restic itself."""
    lines = [
        re.findall(
            r'^.*\brestic (--.*"\$@").*$', (FILES / "colab" / name).read_text(), re.MULTILINE
        )
        for name in ("common.sh", "check.sh")
    ]
    (bounded,), (step,) = lines
    return bounded, step


def test_the_backups_call_restic_as_is_listed():
    listed = listed_commands("restic")
    called: dict[str, frozenset[str]] = {}
    for name, flags in restic_calls():
        called[name] = called.get(name, frozenset()) | flags
    assert called == listed


def test_the_backups_variables_are_those_that_restic_is_listed_with():
    written = (CHECKOUT / "components/rendering/kubernetes/colab/backups.py").read_text()
    assert set(re.findall(r"RESTIC_[A-Z_]+", written)) == thing("restic").of("variables")


def test_caddy_is_started_as_is_listed():
    unit = (FILES / "units/llm-endpoint-caddy-run.service").read_text()
    lines = re.findall(r"^Exec\w+=\+?\S+/caddy (.*)$", unit, re.MULTILINE)
    assert dict(command_of(line.split()) for line in lines) == listed_commands("caddy")
    for name in ("gateway.py", "colab/runtime.py"):
        source = (CHECKOUT / "components/rendering/kubernetes" / name).read_text()
        (line,) = re.findall(r'\("caddy", ("run",[^)]*)\)', source)
        flags = frozenset(re.findall(r'"(--[a-z]+)"', line))
        assert flags == listed_commands("caddy")["run"]


@pytest.mark.parametrize("name", ["Caddyfile.acme", "Caddyfile.own-ca"])
def test_caddy_listens_on_the_listed_ports(name: str):
    text = (FILES / name).read_text()
    ports = set(re.findall(r"_PORT:([0-9]+)\}$", text, re.MULTILINE))
    assert "443" in ports
    assert ports <= thing("caddy").of("ports")


def test_a_runtime_is_asked_at_the_port_and_by_the_variable_that_are_listed():
    listed = thing("colab_runtime")
    assert listed.of("ports") == {str(NOTEBOOK_PORT)}
    assert listed.of("variables") == {TOKEN_VARIABLE}


@cache
def sent() -> frozenset[str]:
    """The kinds of all objects that clusters are sent."""
    found: set[str] = set()
    # The code in them is of one kind, and takes most of the time.
    with patch("components.rendering.kubernetes.render.code_objects", lambda plan: []):
        for stack, given in CLUSTERS:
            for text in rendered(stack, given).values():
                for one in yaml.load_all(text, yaml.CSafeLoader):
                    found.add(f"{one['apiVersion']} {one['kind']}")
    return frozenset(found)


def test_clusters_are_sent_the_kinds_of_objects_that_are_listed_and_all_of_them():
    listed = thing("kubernetes").of("objects"), thing("cluster_extensions").of("objects")
    assert not listed[0] & listed[1]
    assert sent() == listed[0] | listed[1]


def scripts_text() -> str:
    files = [*(CHECKOUT / "scripts").rglob("*.py"), CHECKOUT / "scripts/launcher"]
    launchers = CHECKOUT / "scripts/bootstrap/engine_build/launchers"
    files += [path for path in launchers.iterdir() if path.is_file()]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_nothing_is_listed_of_pulumi_that_no_script_writes():
    text, listed = scripts_text(), thing("pulumi")
    for line in listed.of("commands"):
        name, flags = command_of(line.split())
        missing = [flag for flag in flags if not re.search(rf'"{flag}["=]', text)]
        assert not missing, f"no script writes pulumi {name} {missing}"
    assert [name for name in listed.of("variables") if name not in text] == []
