"""What a machine is given: user-data, settings, locks, and nothing that is secret."""

import base64
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rendering_machine import (
    FULL,
    PLAIN,
    PLANS,
    PULLED,
    WHEEL,
    as_cloud_init_writes,
    cloud_config,
    rendered,
    server,
    texts,
    units,
    values,
)

from components.rendering.machine import settings
from components.rendering.machine.render import render
from machine.config import Config

CHECKOUT = Path(__file__).resolve().parents[2]
GCE_VALUE_BYTES = 256 * 1024
SECRET_LIKE = re.compile(
    r"sk-[A-Za-z0-9]{8}|BEGIN [A-Z ]*PRIVATE KEY|[Bb]earer [A-Za-z0-9._-]{12}|ya29\."
    r"|hf_[A-Za-z0-9]{8}"
)

every_plan = pytest.mark.parametrize("name", PLANS)


def test_the_same_plan_makes_the_same_bytes_in_another_process():
    code = (
        "import sys; sys.path.insert(0, 'tests/unit'); import rendering_machine as r;"
        "print(r.rendered('full').digest())"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == rendered("full").digest()


def test_the_compressed_part_is_of_a_compressor_with_one_output():
    # zlib-ng compresses to other bytes than zlib, and other bytes are another machine.
    archive = cloud_config("plain")["write_files"][-1]
    assert base64.b64decode(archive["content"]).startswith(b"BZh9")


@every_plan
def test_user_data_places_every_file_whole(name: str):
    machine = rendered(name)
    assert machine.user_data.startswith("#cloud-config\n")
    placed = sorted(as_cloud_init_writes(name), key=lambda file: file.path)
    assert placed == sorted(machine.files, key=lambda file: file.path)
    assert len({file.path for file in placed}) == len(placed)


@every_plan
def test_user_data_fits_into_a_metadata_value(name: str):
    size = len(rendered(name).user_data.encode())
    assert size < GCE_VALUE_BYTES, f"{size} bytes"


@every_plan
def test_people_can_read_what_they_may_want_to(name: str):
    for line in rendered(name).user_data.splitlines():
        assert not re.match(r'\s+content: "', line), f"escaped: {line[:60]}"


def test_keys_of_cloud_config_are_those_that_it_has():
    content = cloud_config("full")
    assert list(content) == ["package_update", "packages", "users", "write_files", "runcmd"]
    assert all(re.fullmatch("0[0-7]{3}", file["permissions"]) for file in content["write_files"])


def test_nobody_who_could_log_in_is_made():
    (user,) = cloud_config("plain")["users"]
    assert user["name"] == "llm-gateway"
    assert user["shell"] == "/usr/sbin/nologin"
    assert user["lock_passwd"] is True
    assert user["system"] is True
    assert not {"sudo", "groups", "ssh_authorized_keys", "passwd"} & set(user)


@every_plan
def test_nothing_rendered_looks_like_a_secret(name: str):
    machine = rendered(name)
    for path, text in {**texts(machine), "script": machine.startup_script}.items():
        assert not SECRET_LIKE.search(text), path


def test_the_machine_reads_its_settings():
    text = texts(rendered("full"))["/etc/llm-endpoint/machine.json"]
    content = json.loads(text)
    assert content["keys_secret"] == "llm-endpoint-full-keys"
    assert content["ca_secret"] is None
    assert content["domain"] == "llm.example.org"
    assert [(one["name"], one["port"]) for one in content["servers"]] == [
        ("chat", 8081),
        ("embeddings", 8082),
    ]
    assert content["servers"][0]["context_tokens_total"] == 16384
    assert content["gateway"]["body_bytes"] == 1000
    assert content["watchdog"] == {
        "idle_minutes": 30,
        "stop": {"kind": "resize_group", "group": "llm-endpoint-full"},
    }


@every_plan
def test_the_machines_own_reader_takes_the_settings(name: str, tmp_path: Path):
    file = tmp_path / "machine.json"
    file.write_text(texts(rendered(name))["/etc/llm-endpoint/machine.json"])
    config = Config.load(file)
    assert [one.name for one in config.servers] == [one.name for one in PLANS[name].servers]
    assert config.caddy.version.startswith("v2.")


def test_an_engine_of_its_own_source_brings_git_and_the_lock_of_what_builds_it():
    machine = rendered("pulled")
    content = json.loads(texts(machine)["/etc/llm-endpoint/machine.json"])
    assert {"git", "g++", "python3-venv"} <= set(content["packages"])
    assert content["packages"] == cloud_config("pulled")["packages"]
    assert content["engines"]["localllm"]["source"]["commit"] == "0" * 40
    assert content["servers"][0]["pull"][-2:] == ["pull", "owner/repo"]
    assert content["cache_disk"] is None
    locks = [path for path in texts(machine) if path.startswith("/opt/llm-endpoint/requirements/")]
    assert sorted(Path(path).name for path in locks) == [
        "go.txt",
        "localllm-build.txt",
        "localllm.txt",
        "machine.txt",
    ]


@every_plan
def test_every_lock_holds_hashes(name: str):
    locks = {p: t for p, t in texts(rendered(name)).items() if "/requirements/" in p}
    for path, text in locks.items():
        pinned = [line for line in text.splitlines() if "==" in line]
        assert pinned, path
        assert "--hash=sha256:" in text, path


def test_caddy_is_built_unless_the_published_one_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = json.loads(settings.machine_json(PLAIN))["caddy"]
    assert (made["url"] == "") == (made["sha512"] == "")
    pins = '[caddy]\nversion = "v2.0.0"\nurl = "https://example.org/c.tar.gz"\nsha512 = "ab"\n'
    (tmp_path / "pins.toml").write_text(pins)
    monkeypatch.setattr(settings, "CHECKOUT", tmp_path)
    assert json.loads(settings.machine_json(PLAIN))["caddy"] == {
        "version": "v2.0.0",
        "url": "https://example.org/c.tar.gz",
        "sha512": "ab",
    }


def test_caddys_pin_is_of_the_version_that_is_built():
    version = json.loads(settings.machine_json(PLAIN))["caddy"]["version"]
    module = texts(rendered("plain"))["/opt/llm-endpoint/caddy-build/go.mod"]
    assert f"github.com/caddyserver/caddy/v2 {version}\n" in module


def test_the_caddyfile_is_that_of_the_tls():
    assert "acme" in texts(rendered("full"))["/etc/llm-endpoint/Caddyfile"]
    assert "pki {" in texts(rendered("plain"))["/etc/llm-endpoint/Caddyfile"]


def test_what_changes_the_machine_changes_its_digest():
    digests = {
        render(plan).digest()
        for plan in (
            PLAIN,
            replace(PLAIN, idle_minutes=10),
            replace(PLAIN, cache_disk=None),
            replace(PLAIN, servers=(server("chat", "--metrics"),)),
        )
    }
    assert len(digests) == 4


def test_two_ways_of_one_installation_are_refused():
    other = replace(server("other"), installation=replace(WHEEL, packages=()))
    with pytest.raises(ValueError, match="'llama-wheel' in different ways"):
        render(replace(PLAIN, servers=(server(), other)))


def test_a_lock_that_is_not_there_is_named():
    lacking = replace(server(), installation=replace(WHEEL, requirements="nothing"))
    with pytest.raises(ValueError, match=r"requirements/nothing\.txt.*scripts/lock"):
        render(replace(PLAIN, servers=(lacking,)))


def test_a_launch_that_wants_keys_in_a_file_is_refused():
    with pytest.raises(ValueError, match="'chat' reads keys from a file"):
        render(replace(PLAIN, servers=(server(checks_keys=True),)))


def test_a_server_is_started_with_its_launchs_words_and_environment():
    unit = units(rendered("full"))["llm-endpoint-server-embeddings.service"]
    (line,) = values(unit, "ExecStart")
    assert line.startswith(
        "/opt/llm-endpoint/engines/llama-wheel/bin/python -m scripts.serve.wheel_server "
        "--model ${LLM_ENDPOINT_MODEL} --alias embeddings --host 127.0.0.1 --port 8082 "
    )
    assert "--embeddings" in line
    assert "{" not in line.replace("${LLM_ENDPOINT_MODEL}", "")
    assert "OMP_WAIT_POLICY=passive" in values(unit, "Environment")
    assert values(unit, "EnvironmentFile") == ["/run/llm-endpoint/server-embeddings.env"]


def test_an_engine_that_pulls_finds_its_hub_and_is_there_before_the_model():
    machine = units(rendered("pulled"))
    chat = machine["llm-endpoint-server-chat.service"]
    assert "HF_HOME=/var/lib/llm-endpoint/hub" in values(chat, "Environment")
    assert "llm-endpoint-engine.service" in values(
        machine["llm-endpoint-model.service"], "Requires"
    )
    plain = units(rendered("plain"))["llm-endpoint-model.service"]
    assert "llm-endpoint-engine.service" not in values(plain, "Requires")
    assert PULLED.servers[0].pull is not None


def test_flags_with_signs_that_systemd_knows_stay_words():
    unit = units(render(replace(PLAIN, servers=(server("chat", "--x", "50% $HOME"),))))
    (line,) = values(unit["llm-endpoint-server-chat.service"], "ExecStart")
    assert line.endswith('--x "50%% $$HOME"')


def test_the_watchdog_is_there_where_it_has_something_to_do():
    assert FULL.idle_minutes is not None
    with_it = units(rendered("full"))
    without = units(rendered("plain"))
    assert "llm-endpoint-watchdog.timer" in values(with_it["llm-endpoint.target"], "Wants")
    assert not [name for name in without if "watchdog" in name]
    assert "watchdog" not in without["llm-endpoint.target"]
