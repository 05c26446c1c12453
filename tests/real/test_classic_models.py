"""Classic models from their push to a registry to a client's inference, all of it run.

OpenVINO computes; what stands for its model server has the real one's flags, paths and errors.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import real_packages
import requests
from pods import classic_site
from pods.classic_site import SECONDS, Endpoint, Registry, Site, planned
from pods.deployed import ROOT

from components.rendering.kubernetes.names import REGISTRY_SECRET_KEY

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

CHAT = "tiny-chat@1"
SERVED = ("pair@1", "pair@2", "sum@1", "sum@2")
BROKEN = "pair@3"
LLM = {
    "config.json": b'{"model_type": "qwen3"}',
    "openvino_model.xml": b"<net/>",
    "openvino_model.bin": b"w" * 10_000,
    "openvino_tokenizer.xml": b"<net/>",
    "openvino_tokenizer.bin": b"t" * 100,
}
LARGE_BYTES = 6_000_000
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry to which somebody has pushed some models, one of them broken."""
    folder = tmp_path_factory.mktemp("to-push")
    make = ROOT / "tests/real/pods/make_models.py"
    subprocess.run([real_packages.python(), make, folder], check=True, timeout=SECONDS)
    (folder / "sum" / "2" / "more.bin").write_bytes(os.urandom(LARGE_BYTES))
    broken = folder / "pair" / "3"
    shutil.copytree(folder / "pair" / "2", broken)
    (broken / "model.xml").write_text("<net><this is no network</net>")
    chat = folder / "tiny-chat" / "1"
    chat.mkdir(parents=True)
    for name, content in LLM.items():
        (chat / name).write_bytes(content)
    with classic_site.registry() as registry:
        uploads = [
            {"model": model, "folder": str(folder / model.replace("@", "/"))}
            for model in (*SERVED, BROKEN, CHAT)
        ]
        registry.run("push", registry.url, LLM_ENDPOINT_REGISTRY_UPLOADS=json.dumps(uploads))
        yield registry


@pytest.fixture(scope="module")
def site(registry: Registry) -> Iterator[Site]:
    host = planned(registry, CHAT, *SERVED).host
    assert host is not None
    with classic_site.site(host) as site:
        yield site


def last(endpoint: Endpoint, server: str) -> dict[str, Any]:
    """Return the last record in the log of a server's init container."""
    line = endpoint.pods[server].log("model").splitlines()[-1]
    return json.loads(line.removeprefix("llm-endpoint: "))


def test_a_wrong_access_key_ends_the_pull_for_good_and_shows_in_no_log(
    registry: Registry, site: Site
):
    wrong = "a-secret-that-is-another-one"
    with site.endpoint(registry, planned(registry, CHAT, *SERVED)) as endpoint:
        assert endpoint.pull("models", **{REGISTRY_SECRET_KEY: wrong}) == 78
        record = last(endpoint, "models")
        assert record["state"] == "failed"
        assert "the storage refuses these credentials (403 SignatureDoesNotMatch)" in str(record)
        log = endpoint.pods["models"].log("model")
        assert not [one for one in (wrong, *registry.keys.values()) if one in log]


def test_a_version_that_nobody_pushed_ends_the_pull_for_good_by_its_name(
    registry: Registry, site: Site
):
    with site.endpoint(registry, planned(registry, CHAT, "sum@7")) as endpoint:
        assert endpoint.pull("models") == 78
        assert "sum@7" in last(endpoint, "models")["message"]


def test_an_object_that_was_changed_behind_the_registry_is_refused(registry: Registry, site: Site):
    stored = registry.stored("models/sum/1/model.bin")
    right = stored.value
    with site.endpoint(registry, planned(registry, CHAT, "sum@1")) as endpoint:
        stored.value = b"\xff" * len(right)
        assert endpoint.pull("models") == 78
        record = last(endpoint, "models")
        assert "model.bin" in record["message"]
        assert "sha256" in record["message"] or "checksum" in record["message"]
        served = endpoint.pods["models"].volume("models") / "served"
        assert not served.exists()
        stored.value = right
        assert endpoint.pull("models") == 0


def test_a_pull_that_is_killed_goes_on_from_where_it_was(registry: Registry, site: Site):
    proxy = registry.proxy
    with site.endpoint(registry, planned(registry, CHAT, *SERVED)) as endpoint:
        store = endpoint.pods["models"].volume("models") / "registry"
        proxy.hold_after(LARGE_BYTES // 2)
        process = endpoint.pods["models"].begin("model")
        assert proxy.holding.wait(SECONDS), endpoint.logs()
        process.kill()
        proxy.let_go.set()
        begun = [path.stat().st_size for path in store.glob("sum/.2.part/*.partial")]
        assert begun
        assert not (store / "sum" / "2").exists()
        proxy.reset()
        proxy.answered = 0
        assert endpoint.pull("models") == 0
        assert proxy.answered < LARGE_BYTES - begun[0] + 200_000
        links = endpoint.pods["models"].volume("models") / "served" / "models"
        assert {str(path.relative_to(links)) for path in links.glob("*/*")} == {
            each.replace("@", "/") for each in SERVED
        }


@pytest.fixture(scope="module")
def running(registry: Registry, site: Site) -> Iterator[Endpoint]:
    """The endpoint with all its pods, which serve."""
    with site.endpoint(registry, planned(registry, CHAT, *SERVED)) as endpoint:
        for server in ("chat", "models"):
            assert endpoint.pull(server) == 0, endpoint.logs()
        endpoint.serve()
        endpoint.until_health('"status": "ok"')
        yield endpoint


@pytest.fixture
def client(running: Endpoint) -> Iterator[requests.Session]:
    with running.session() as session:
        yield session


def test_verification_is_green_with_each_model_s_inference(running: Endpoint):
    done = running.verify()
    assert done.returncode == 0, done.stderr + running.logs()
    check = json.loads(done.stdout)["checks"][-1]
    assert (check["name"], check["status"]) == ("classic_models", "passed")
    assert check["seen"] == (
        "pair@1 FP32[1, 3] FP32[1, 3] -> FP32[1, 3] FP32[1, 3], "
        "pair@2 FP32[1, 3] FP32[1, 3] -> FP32[1, 3] FP32[1, 3], "
        "sum@1 FP32[1, 10] -> FP32[1, 10], sum@2 FP32[1, 10] -> FP32[1, 10]"
    )


@pytest.mark.parametrize("base", ["/models", "/models/v2/models"])
def test_a_kserve_client_gets_what_openvino_computes_for_each_version(
    running: Endpoint, client: requests.Session, base: str
):
    asked = {"inputs": [{"name": "b", "shape": [1, 10], "datatype": "FP32", "data": [1.5] * 10}]}
    for place, added in (("/versions/1", 1), ("/versions/2", 2), ("", 2)):
        answer = client.post(f"{running.url}{base}/sum{place}/infer", json=asked, timeout=10)
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        assert output == {
            "name": "a",
            "shape": [1, 10],
            "datatype": "FP32",
            "data": [1.5 + added] * 10,
        }


def test_binary_tensors_go_through_the_gateway_both_ways(
    running: Endpoint, client: requests.Session
):
    left, right = (struct.pack("<6f", *numbers) for numbers in (range(6), range(1, 7)))
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": [2, 3],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 24},
                }
                for name in ("left", "right")
            ],
            "outputs": [{"name": "sum"}, {"name": "product", "parameters": {"binary_data": True}}],
        }
    ).encode()
    answer = client.post(
        f"{running.url}/models/pair/versions/2/infer",
        data=header + left + right,
        headers={HEADER: str(len(header)), "Content-Type": "application/octet-stream"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    end = int(answer.headers[HEADER])
    total, product = json.loads(answer.content[:end])["outputs"]
    assert total["data"] == [2 * n + 1 for n in range(6)]
    assert product["parameters"] == {"binary_data_size": 24}
    assert struct.unpack("<6f", answer.content[end:]) == tuple(2 * n * (n + 1) for n in range(6))


def test_metadata_states_and_errors_come_as_the_server_says_them(
    running: Endpoint, client: requests.Session
):
    listed = client.get(f"{running.url}/models", timeout=10).json()["models"]
    assert [(one["name"], one["version"], one["state"]) for one in listed] == [
        (*each.split("@"), "AVAILABLE") for each in SERVED
    ]
    metadata = client.get(f"{running.url}/models/pair", timeout=10).json()
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"][0] == {"name": "left", "datatype": "FP32", "shape": [-1, 3]}
    assert client.get(f"{running.url}/models/v2/health/ready", timeout=10).status_code == 200
    assert client.get(f"{running.url}/models/sum/ready", timeout=10).status_code == 200
    for path, said in (
        ("/models/other", "Model with requested name is not found"),
        ("/models/sum/versions/9/ready", "Model with requested version is not found"),
    ):
        answer = client.get(running.url + path, timeout=10)
        assert (answer.status_code, answer.json()) == (404, {"error": said})


def test_neither_strangers_nor_a_reload_get_through(running: Endpoint, client: requests.Session):
    for path in ("/v1/config/reload", "/models/v1/config/reload", "/v1/config", "/v2/models/sum"):
        assert client.post(running.url + path, timeout=10).status_code in {404, 405}
    client.headers["Authorization"] = "Bearer sk-another"
    for path in ("/models", "/models/sum", "/models/v2/health/ready"):
        assert client.get(running.url + path, timeout=10).status_code == 401
    log = running.pods["models"].log("server")
    assert "reload" not in log


def test_a_broken_model_is_named_by_verification_and_chats_go_on(registry: Registry, site: Site):
    with site.endpoint(registry, planned(registry, CHAT, "sum@1", BROKEN)) as endpoint:
        for server in ("chat", "models"):
            assert endpoint.pull(server) == 0, endpoint.logs()
        store = endpoint.pods["models"].volume("models") / "registry"
        assert {str(path.relative_to(store)) for path in store.glob("*/[0-9]*")} == {
            "sum/1",
            "pair/3",
        }
        endpoint.serve()
        endpoint.until_health("chat answers; models loads its models: ")
        done = endpoint.verify("--wait-seconds", "3", "--json")
        assert done.returncode == 3, done.stderr
        receipt = json.loads(done.stdout)
        (failed,) = [one for one in receipt["checks"] if one["status"] == "failed"]
        assert failed["name"] == "ready"
        assert f"{BROKEN} LOADING (UNKNOWN)" in failed["seen"]
        assert "sum@1" not in failed["seen"]
        with endpoint.session() as client:
            chat = {"model": "tiny-chat", "messages": [{"role": "user", "content": "Hello!"}]}
            answer = client.post(f"{endpoint.url}/v1/chat/completions", json=chat, timeout=10)
            assert answer.status_code == 200, answer.text
            asked = {
                "inputs": [{"name": "b", "shape": [1, 10], "datatype": "FP32", "data": [0] * 10}]
            }
            answer = client.post(f"{endpoint.url}/models/sum/infer", json=asked, timeout=10)
            assert answer.json()["outputs"][0]["data"] == [1.0] * 10
            answer = client.get(f"{endpoint.url}/models/pair/versions/3", timeout=10)
            said = "Model with requested version is not loaded yet"
            assert (answer.status_code, answer.json()) == (404, {"error": said})
