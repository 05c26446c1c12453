"""Servers in containers: what Docker is told, what they may reach, and what is refused."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rendering_machine import (
    BUILT,
    CONTAINER,
    DOCKER,
    GPUS,
    IMAGE,
    PLAIN,
    PLANS,
    cloud_config,
    contained,
    pulling_server,
    rendered,
    server,
    texts,
    units,
    values,
)

from components.rendering.machine.plan import MachinePlan, ModelServer, PulledImage
from components.rendering.machine.render import render

CHAT = "llm-endpoint-server-chat.service"
EMBEDDINGS = "llm-endpoint-server-embeddings.service"
DAEMON = "/etc/docker/daemon.json"
KEY = "/etc/apt/keyrings/nvidia-container-toolkit.asc"
ARCHIVE = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"
KEPT_DRIVER = "/etc/apt/apt.conf.d/52llm-endpoint-driver"
NVIDIA_KEY_SHA256 = "c880576d6cf75a48e5027a871bac70fd0421ab07d2b55f30877b21f1c87959c9"
CLIENT_CLOSED_OFF = {
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateNetwork": "yes",
    "PrivateTmp": "yes",
    "ProtectHome": "yes",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_UNIX",
    "SystemCallFilter": "@system-service",
}

without_gpus = pytest.mark.parametrize("name", [n for n, plan in PLANS.items() if not plan.gpus])


def words(unit: str) -> list[str]:
    """The words of a unit's command line, as its program gets them."""
    (line,) = values(unit, "ExecStart")
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def given(options: list[str], flag: str) -> list[str]:
    """The values of `flag` among docker's own options."""
    before = options[: options.index("--entrypoint")]
    return [before[index + 1] for index, word in enumerate(before) if word == flag]


def with_servers(*servers: ModelServer, plan: MachinePlan = PLAIN) -> MachinePlan:
    return replace(plan, servers=servers)


def test_a_container_is_run_with_its_launchs_words_by_the_engines_program():
    told = words(units(rendered("gpus"))[CHAT])
    after = told[told.index("--entrypoint") + 1 :]
    assert after[:2] == ["/app/llama-server", IMAGE]
    assert after[2:8] == [
        *("--model", "${LLM_ENDPOINT_MODEL}", "--alias", "chat"),
        *("--host", "127.0.0.1"),
    ]
    assert after[8:10] == ["--port", "8081"]
    unit = units(rendered("gpus"))[CHAT]
    assert values(unit, "EnvironmentFile") == ["/run/llm-endpoint/server-chat.env"]


def test_the_rest_of_a_program_comes_before_the_launchs_words():
    told = words(units(rendered("gpus"))[EMBEDDINGS])
    after = told[told.index("--entrypoint") + 1 :]
    image = "llm-endpoint/llama-cpp:000000000000"
    assert after[:5] == ["/bin/sh", image, "-c", "exec serve", "--model"]
    assert given(told, "--shm-size") == ["8192m"]


def test_a_container_is_closed_off():
    told = words(units(rendered("docker"))[CHAT])
    assert told[:2] == ["/usr/bin/docker", "run"]
    assert {"--rm", "--read-only"} <= set(told)
    for flag, value in {
        "--network": "host",
        "--cgroup-parent": "llm-endpoint-engines.slice",
        "--user": "65534:65534",
        "--tmpfs": "/tmp:rw,exec,nosuid,nodev",
        "--cap-drop": "ALL",
        "--security-opt": "no-new-privileges",
        "--pids-limit": "4096",
        "--pull": "never",
        "--name": "llm-endpoint-server-chat",
        "--log-driver": "local",
    }.items():
        assert given(told, flag) == [value], flag
    assert given(told, "--log-opt") == ["max-size=10m", "max-file=3"]
    assert not {"--privileged", "--publish", "-p", "--volume", "-v", "--device"} & set(told)


def test_a_container_sees_models_and_a_folder_of_its_own():
    told = words(units(rendered("gpus"))[EMBEDDINGS])
    models = "/var/lib/llm-endpoint/models"
    cache = "/var/cache/llm-endpoint/embeddings"
    assert given(told, "--mount") == [
        f"type=bind,source={models},target={models},readonly",
        f"type=bind,source={cache},target=/cache",
    ]
    assert "HOME=/cache" in given(told, "--env")
    made = values(units(rendered("gpus"))[EMBEDDINGS], "ExecStartPre")[-1]
    assert made.startswith("+/usr/bin/install --directory --owner=65534 --group=65534 ")
    assert made.endswith(f" {cache}")


def test_the_slice_keeps_containers_from_all_but_loopback():
    text = units(rendered("docker"))["llm-endpoint-engines.slice"]
    assert values(text, "IPAddressDeny") == ["any"]
    assert values(text, "IPAddressAllow") == ["localhost"]


def test_the_client_is_closed_off_but_for_dockers_socket():
    text = units(rendered("docker"))[CHAT]
    for key, value in CLIENT_CLOSED_OFF.items():
        assert values(text, key) == [value], key


@pytest.mark.parametrize(("unit", "port"), [(CHAT, 8081), (EMBEDDINGS, 8082)])
def test_the_healthcheck_asks_the_servers_own_port(unit: str, port: int):
    (command,) = given(words(units(rendered("gpus"))[unit]), "--health-cmd")
    assert command == f"curl -fsS -o /dev/null http://127.0.0.1:{port}/health"


def test_a_container_comes_back_and_its_name_is_free_again():
    text = units(rendered("docker"))[CHAT]
    assert values(text, "Restart") == ["always"]
    (removed,) = values(text, "ExecStopPost")
    assert "/usr/bin/docker rm --force %N " in removed
    assert values(text, "ExecStartPre")[0] == removed
    assert "docker.service" in " ".join(values(text, "Requires")).split()
    assert "docker.service" in " ".join(values(text, "After")).split()


def test_signs_that_systemd_knows_stay_words_in_a_container_too():
    launched = contained("chat", "--chat-template", "{% if x %}$y {{ 'z\\' }}")
    said = replace(launched, launch=replace(launched.launch, environment={"A": "50% $HOME"}))
    told = words(units(render(with_servers(said)))[CHAT])
    assert told[-1] == "{% if x %}$y {{ 'z\\' }}"
    assert "A=50% $HOME" in given(told, "--env")


def test_only_a_machine_with_gpus_hands_them_on():
    with_gpus, without = (words(units(rendered(name))[CHAT]) for name in ("gpus", "docker"))
    assert given(with_gpus, "--gpus") == ["all"]
    assert {"NCCL_SOCKET_IFNAME=lo", "GLOO_SOCKET_IFNAME=lo"} <= set(given(with_gpus, "--env"))
    assert "--gpus" not in without
    assert not [word for word in without if "NCCL" in word]


def test_what_a_launch_says_of_a_variable_counts():
    said = replace(contained(), launch=replace(contained().launch, environment={"HOME": "/tmp"}))
    told = words(units(render(with_servers(said)))[CHAT])
    assert given(told, "--env") == ["HOME=/tmp"]


def test_docker_knows_every_option(tmp_path: Path):
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker's client is not installed here")
    told = words(units(rendered("gpus"))[EMBEDDINGS])
    seen = subprocess.run(
        [docker, *told[1:]],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none", "DOCKER_CONFIG": "/tmp/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "daemon" in seen.stderr, "it read all options, and then looked for its daemon"
    assert "unknown flag" not in seen.stderr


def test_a_process_beside_a_container_stays_as_it_is():
    beside = units(rendered("docker"))[EMBEDDINGS]
    alone = units(render(with_servers(server(), server("embeddings"))))[EMBEDDINGS]
    assert beside == alone
    engines = json.loads(texts(rendered("docker"))["/etc/llm-endpoint/machine.json"])["engines"]
    assert {name: one["kind"] for name, one in engines.items()} == {
        "llama-wheel": "environment",
        "llama-cpp": "container",
    }


def test_the_machine_is_told_which_images():
    content = json.loads(texts(rendered("gpus"))["/etc/llm-endpoint/machine.json"])
    assert content["engines"] == {
        "llama-cpp": {
            "kind": "container",
            "image": {"kind": "pulled", "reference": IMAGE},
            "cuda": "12.8",
            "lists_devices": ["/app/llama-server", "--list-devices"],
        },
        "llama-cpp-built": {
            "kind": "container",
            "image": {
                "kind": "built",
                "name": "llm-endpoint/llama-cpp:000000000000",
                "source": {
                    "url": "https://git.example.org/engine",
                    "commit": "0" * 40,
                    "subdirectory": "",
                },
                "dockerfile": ".devops/cuda.Dockerfile",
                "stage": "server",
                "arguments": {"CUDA_DOCKER_ARCH": "89"},
            },
            "cuda": None,
            "lists_devices": [],
        },
    }
    assert content["gpus"] == {"model": "nvidia-l4", "count": 2, "compute_capability": "8.9"}
    assert [one["engine"] for one in content["servers"]] == ["llama-cpp", "llama-cpp-built"]
    assert [one["gpu_layers"] for one in content["servers"]] == [20, 20]
    assert [one["gpus"] for one in content["servers"]] == [1, 1]
    assert content["optional_packages"] == ["docker-buildx"]


def test_dockers_daemon_is_set_before_it_comes_and_only_where_it_comes():
    settings = json.loads(texts(rendered("docker"))[DAEMON])
    assert settings["exec-opts"] == ["native.cgroupdriver=systemd"]
    assert settings["bridge"] == "none"
    assert not any(settings[key] for key in ("iptables", "ip6tables", "ip-forward"))
    placed = {file["path"] for file in cloud_config("docker")["write_files"]}
    assert DAEMON in placed, "as plain text, which cloud-init writes before it installs packages"
    assert {"docker.io", "apparmor"} <= set(cloud_config("docker")["packages"])
    assert DAEMON not in texts(rendered("plain"))
    assert "docker.io" not in cloud_config("plain")["packages"]


def test_a_container_can_not_hold_up_a_shutdown_for_long():
    place = "/etc/systemd/system/docker-.scope.d/llm-endpoint.conf"
    assert "[Scope]\n" in texts(rendered("docker"))[place]
    assert "\nTimeoutStopSec=10\n" in texts(rendered("docker"))[place]
    assert place not in texts(rendered("plain"))


def test_nvidias_archive_is_there_where_gpus_are():
    placed = texts(rendered("gpus"))
    assert hashlib.sha256(placed[KEY].encode()).hexdigest() == NVIDIA_KEY_SHA256
    assert f"deb [signed-by={KEY}] https://nvidia.github.io/" in placed[ARCHIVE]
    assert {KEY, ARCHIVE} <= {file["path"] for file in cloud_config("gpus")["write_files"]}
    assert "nvidia-container-toolkit" in cloud_config("gpus")["packages"]


def test_nobody_upgrades_a_driver_or_the_kernel_that_it_is_for():
    held = texts(rendered("gpus"))[KEPT_DRIVER]
    patterns = re.findall(r'^  "(.+)";$', held, re.MULTILINE)
    for package in (
        *("nvidia-utils-580-server", "libnvidia-compute-580-server", "linux-image-gcp"),
        "linux-modules-nvidia-580-server-open-gcp",
    ):
        assert any(re.match(pattern, package) for pattern in patterns), package
    assert not any(re.match(pattern, "openssl") for pattern in patterns)


@without_gpus
def test_a_machine_without_gpus_has_nothing_of_them(name: str):
    machine = rendered(name)
    assert not {KEY, ARCHIVE, KEPT_DRIVER} & set(texts(machine))
    assert "nvidia-container-toolkit" not in cloud_config(name)["packages"]
    assert not [unit for unit, text in units(machine).items() if "llm-endpoint-gpu" in unit + text]


def test_servers_wait_until_the_gpus_were_seen():
    machine = units(rendered("gpus"))
    for unit in (CHAT, EMBEDDINGS):
        assert "llm-endpoint-gpu.service" in values(machine[unit], "Requires")
    assert "llm-endpoint-gpu.service" in values(machine["llm-endpoint.target"], "Wants")


def test_the_first_server_takes_the_memory_that_the_others_leave(tmp_path: Path):
    machine = units(rendered("gpus"))
    line = values(machine[CHAT], "ExecStartPre")[-1].removeprefix("-")
    assert 'ExecStartPre=-/bin/sh -c "n=0' not in machine[EMBEDDINGS]
    assert "n=0" not in units(rendered("docker"))[CHAT]
    said = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line)]
    docker = tmp_path / "docker"
    # Healthy at the third time of asking.
    docker.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n'
        f'[ "$(wc -l <{tmp_path}/asked)" -lt 3 ] && exit 1\necho healthy\n'
    )
    docker.chmod(0o755)
    script = said[-1].replace("/usr/bin/docker", str(docker)).replace("sleep 2", "true")
    subprocess.run([*said[:-1], script], check=True, timeout=20)
    asked = (tmp_path / "asked").read_text().splitlines()
    name = "llm-endpoint-server-embeddings"
    assert asked == [f"inspect --format {{{{.State.Health.Status}}}} {name}"] * 3
    docker.write_text(f"#!/bin/sh\necho x >>{tmp_path}/never\nexit 1\n")
    subprocess.run([*said[:-1], script], check=False, timeout=20)
    assert len((tmp_path / "never").read_text().splitlines()) < 45, "it goes on without them"


def test_the_gpus_stage_may_restart_docker_and_make_devices():
    text = units(rendered("gpus"))["llm-endpoint-gpu.service"]
    assert "docker.service" not in " ".join(values(text, "Requires")).split()
    assert "docker.service" in " ".join(values(text, "After")).split()
    for key in ("PrivateDevices", "ProtectClock", "ProtectKernelModules", "DevicePolicy"):
        assert not values(text, key), key


def test_the_model_stage_sees_the_gpus_whose_memory_it_asks_for():
    with_gpus, without = (
        units(rendered(name))["llm-endpoint-model.service"] for name in ("gpus", "docker")
    )
    assert values(with_gpus, "ProtectClock")[-1] == "no", "it shuts all devices but the clock"
    assert values(with_gpus, "SystemCallFilter") == ["~@clock"]
    assert values(without, "ProtectClock") == ["yes"]


def test_an_image_is_pulled_by_a_running_docker():
    with_docker, without = (
        units(rendered(name))["llm-endpoint-engine.service"] for name in ("docker", "plain")
    )
    assert values(with_docker, "Wants") == ["docker.service"]
    assert "docker" not in without


@pytest.mark.parametrize(
    "reference",
    ["example.org/engine:tag", "engine", f"engine@sha256:{'0' * 63}", f"engine@md5:{'0' * 64}"],
)
def test_an_image_without_a_digest_is_refused(reference: str):
    loose = replace(CONTAINER, image=PulledImage(reference))
    with pytest.raises(ValueError, match=r"'llama-cpp' is '.*no digest.*scripts\.resolve"):
        render(with_servers(contained(container=loose)))


def test_two_containers_of_one_name_that_differ_are_refused():
    other = replace(CONTAINER, program=("/app/other",))
    with pytest.raises(ValueError, match="different containers called 'llama-cpp'"):
        render(with_servers(contained(), contained("other", container=other)))


def test_a_container_is_not_called_as_an_installation():
    named = replace(CONTAINER, name="llama-wheel")
    with pytest.raises(ValueError, match="both called 'llama-wheel'"):
        render(with_servers(server(), contained("other", container=named)))


def test_a_container_that_wants_keys_in_a_file_is_refused():
    wanting = replace(server(checks_keys=True), installation=CONTAINER)
    with pytest.raises(ValueError, match="'chat' reads keys from a file"):
        render(with_servers(wanting))


def test_an_engine_in_a_container_that_pulls_by_itself_is_refused():
    pulling = replace(pulling_server(), installation=CONTAINER)
    with pytest.raises(ValueError, match=r"'chat' runs in a container.*leave pull out"):
        render(with_servers(pulling))


def test_a_container_without_a_program_is_refused():
    with pytest.raises(ValueError, match="'llama-cpp-built' names no program"):
        render(with_servers(contained(container=replace(BUILT, program=()))))


def test_gpus_that_no_server_could_have_are_refused():
    with pytest.raises(ValueError, match=r"2 nvidia-l4.*processes have no GPU"):
        render(with_servers(server(), plan=GPUS))


def test_a_word_that_no_unit_can_hold_is_refused_in_a_container_too():
    with pytest.raises(ValueError, match="control character"):
        render(with_servers(contained("chat", "--chat-template", "a\nb"), plan=DOCKER))
