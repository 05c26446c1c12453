"""machine.json: read whole, or refused with the key that is wrong."""

import json
import os
import select
from pathlib import Path

import pytest
from fake_world import SERVERS, SETTINGS, fake_machine

from components.rendering.machine import places
from machine.commands import Command, Result, must, runner
from machine.config import (
    BuiltImage,
    Config,
    Container,
    Environment,
    MachineGpus,
    PowerOff,
    PulledImage,
    ResizeGroup,
    Source,
)
from machine.errors import Permanent, Temporary
from machine.files import systemd_quoted, write_whole
from machine.paths import Paths


def load(tmp_path: Path, content: object) -> Config:
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(content))
    return Config.load(file)


def test_all_settings_are_read(tmp_path: Path):
    config = load(tmp_path, SETTINGS)
    assert config.keys_secret == "llm-endpoint-keys"
    assert config.engines["llama-wheel"] == Environment("llama-wheel", None)
    assert config.gpus is None
    (server,) = config.servers
    assert (server.name, server.port, server.slots, server.pull) == ("chat", 8081, 4, None)
    assert (server.probe.path, server.probe.loading_status) == ("/health", 503)
    assert config.gateway.body_bytes == 20971520
    assert config.watchdog.stop == PowerOff()


def test_an_engine_of_a_commit_and_a_group_are_read(tmp_path: Path):
    source = {"url": "https://example.org/x", "commit": "0" * 40, "subdirectory": "x"}
    group = {"kind": "resize_group", "group": "g"}
    config = load(
        tmp_path,
        {
            **SETTINGS,
            "engines": {
                "llama-wheel": {
                    "kind": "environment",
                    "requirements": "localllm",
                    "source": source,
                }
            },
            "watchdog": {"idle_minutes": None, "stop": group},
        },
    )
    engine = config.engines["llama-wheel"]
    assert engine == Environment("localllm", Source("https://example.org/x", "0" * 40, "x"))
    assert config.watchdog.stop == ResizeGroup("g")
    assert config.watchdog.idle_minutes is None


BUILT = {
    "kind": "built",
    "name": "llm-endpoint/llama-cpp:f498f864fbc0",
    "source": {"url": "https://example.org/x", "commit": "0" * 40, "subdirectory": ""},
    "dockerfile": ".devops/cuda.Dockerfile",
    "stage": "server",
    "arguments": {"CUDA_DOCKER_ARCH": "89"},
}


def container(image: object, cuda: object = "12.8") -> dict[str, object]:
    lists = ["/app/serve", "--list"]
    return {
        "llama-wheel": {"kind": "container", "image": image, "cuda": cuda, "lists_devices": lists}
    }


def test_containers_and_gpus_are_read(tmp_path: Path):
    pulled = {"kind": "pulled", "reference": "ghcr.io/o/r:t@sha256:00"}
    gpus = {"model": "nvidia-l4", "count": 2, "compute_capability": "8.9"}
    servers = [{**SERVERS[0], "gpu_layers": 20, "gpus": 1}]
    read = {**SETTINGS, "engines": container(pulled, None), "gpus": gpus, "servers": servers}
    config = load(tmp_path, read)
    assert config.engines["llama-wheel"] == Container(
        PulledImage("ghcr.io/o/r:t@sha256:00"), None, ("/app/serve", "--list")
    )
    assert (config.servers[0].gpu_layers, config.servers[0].gpus) == (20, 1)
    assert config.gpus == MachineGpus("nvidia-l4", 2, "8.9")
    config = load(tmp_path, {**SETTINGS, "engines": container(BUILT)})
    assert config.engines["llama-wheel"] == Container(
        BuiltImage(
            "llm-endpoint/llama-cpp:f498f864fbc0",
            Source("https://example.org/x", "0" * 40, ""),
            ".devops/cuda.Dockerfile",
            "server",
            (("CUDA_DOCKER_ARCH", "89"),),
        ),
        "12.8",
        ("/app/serve", "--list"),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys_secret": 3}, "keys_secret has to be a text, and is 3"),
        ({"tls": "none"}, "tls is 'none', and has to be own_ca or acme"),
        ({"packages": [1]}, "packages has to be a list of texts"),
        ({"gateway": {"port": 8080}}, "gateway.active_requests is missing: a whole number"),
        ({"caddy": None}, "caddy has to be an object, and is missing"),
        (
            {"caddy": {"version": "v2", "url": "https://x", "sha512": ""}},
            "caddy.sha512 is '', and has to be the sha512 of what lies at caddy.url",
        ),
        ({"engines": {}}, r"servers\[0\].engine is 'llama-wheel', and has to be one of engines"),
        (
            {"engines": {"llama-wheel": {"kind": "pod"}}},
            "engines.llama-wheel.kind is 'pod', and has to be environment or container",
        ),
        (
            {"engines": container({"kind": "found"})},
            "engines.llama-wheel.image.kind is 'found', and has to be pulled or built",
        ),
        (
            {"engines": container({**BUILT, "arguments": {"CUDA_DOCKER_ARCH": 89}})},
            "image.arguments.CUDA_DOCKER_ARCH has to be a text, and is 89",
        ),
        (
            {"servers": [{**SERVERS[0], "snapshot": 1}]},
            r"servers\[0\].snapshot has to be true or false, and is 1",
        ),
        (
            {"watchdog": {"idle_minutes": True, "stop": {"kind": "power_off"}}},
            "watchdog.idle_minutes has to be a whole number, and is True",
        ),
        (
            {"watchdog": {"idle_minutes": 1, "stop": {"kind": "explode"}}},
            "watchdog.stop.kind is 'explode'",
        ),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(Permanent, match=message):
        load(tmp_path, {**SETTINGS, **changes})


def test_a_setting_that_is_not_there_is_named(tmp_path: Path):
    without = {key: value for key, value in SETTINGS.items() if key != "cache_disk"}
    with pytest.raises(Permanent, match="cache_disk is missing"):
        load(tmp_path, without)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(Permanent, match=r"machine\.json can't be read: No such file"):
        Config.load(tmp_path / "machine.json")


def test_files_lie_where_they_are_rendered_to():
    paths = Paths()
    assert str(paths.config) == places.SETTINGS
    assert str(paths.lib) == places.LIB
    assert str(paths.requirements("go").parent) == places.REQUIREMENTS
    assert str(paths.caddy_build) == places.CADDY_BUILD
    assert str(paths.hub) == places.HUB
    assert str(paths.engine("native")) == places.venv("native")
    assert str(paths.server("chat")) == places.model_variables("chat")


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path):
    file = tmp_path / "folder" / "file"
    write_whole(file, "first", 0o644)
    write_whole(file, "second", 0o600)
    assert file.read_text() == "second"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_words_of_an_environment_file_are_quoted_for_systemd():
    assert systemd_quoted('/m/a $b "c" \\d `e`') == '"/m/a \\$b \\"c\\" \\\\d \\`e\\`"'


def test_a_command_gives_its_status_and_both_outputs(tmp_path: Path):
    result = runner(lambda _: None)(
        Command("x", ("sh", "-c", "pwd; echo $WORD >&2; exit 3"), 10, {"WORD": "w"}, tmp_path)
    )
    assert result == Result(3, f"{tmp_path}\n", "w\n")


def test_a_program_that_is_not_there_ends_with_127():
    assert runner(lambda _: None)(Command("x", ("/no/such/program",))).code == 127


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(Temporary, match="waiting took more than 0 s"):
        runner(lambda _: None)(Command("waiting", ("sh", "-c", script), 0.3))
    child = int((tmp_path / "pid").read_text())
    try:
        ends = os.pidfd_open(child)
    except ProcessLookupError:
        return
    try:
        assert select.select([ends], [], [], 5.0)[0]
    finally:
        os.close(ends)


def test_a_long_command_is_told_as_progress(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("machine.commands._SAY_EVERY_SECONDS", 0.05)
    told = tmp_path / "told"
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        told.touch()

    runner(say)(Command("building", ("sh", "-c", _until(told)), 10))
    assert said[0].startswith("building, ")
    assert said[0].endswith(" s so far")


def test_a_long_command_says_how_far_it_is_from_what_it_wrote(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("machine.commands._SAY_EVERY_SECONDS", 0.05)
    told = tmp_path / "told"
    said: list[str] = []

    def progress(text: str) -> str:
        words = text.split()
        if len(words) == 2:
            told.touch()
        return " and ".join(words)

    script = f"echo one; echo two >&2; {_until(told)}; echo three"
    result = runner(said.append)(Command("building", ("sh", "-c", script), 10, progress=progress))
    assert [line for line in said if line.endswith(" s so far: one and two")]
    assert result == Result(0, "one\nthree\n", "two\n")


def _until(told: Path) -> str:
    return f"while [ ! -e '{told}' ]; do sleep 0.01; done"


def test_a_command_that_must_succeed_gives_the_end_of_its_log(tmp_path: Path):
    machine = fake_machine(tmp_path)
    machine.run.answers = {"false": Result(1, "out\n", "err\n")}
    with pytest.raises(Temporary, match="trying failed: false ended with 1") as caught:
        must(machine.run, Command("trying", ("false",)))
    assert caught.value.log == ("out", "err")
