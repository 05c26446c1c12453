"""OpenVINO Model Server with classic models: its flags, its config.json, and how it is asked."""

import json

from components.compose import form_for
from components.engines.ovms_classic import launch
from components.launch import Form, Slot
from components.targets.gke.place import GKE_POOL

KEYS = {
    *("name", "base_path", "batch_size", "graph_path", "subconfig", "model_version_policy"),
    *("shape", "layout", "nireq", "target_device", "allow_cache", "plugin_config"),
    "custom_loader_options",
}
"""What a model's configuration may have: `additionalProperties` is false in `src/schema.cpp`."""
OF_ONE_MODEL = {
    *("--model_name", "--model_path", "--target_device", "--plugin_config", "--nireq", "--shape"),
    *("--batch_size", "--model_version_policy"),
}
"""Flags with which a server that has `--config_path` ends (`src/config.cpp`)."""


def configs(models: dict[str, list[int]], cpus: int = 2) -> dict[str, dict[str, object]]:
    text = launch(models, cpus).configuration
    assert text is not None
    return {one["config"]["name"]: one["config"] for one in json.loads(text)["model_config_list"]}


def test_each_model_is_listed_with_exactly_its_versions():
    found = configs({"resnet50": [2, 1], "bert": [3]})
    assert list(found) == ["bert", "resnet50"]
    assert found["resnet50"]["model_version_policy"] == {"specific": {"versions": [1, 2]}}
    assert found["resnet50"]["base_path"] == f"{Slot.MODEL}/resnet50"
    assert all(one.keys() <= KEYS for one in found.values())


def test_the_order_in_which_models_are_named_means_nothing():
    one, other = (
        launch(models, 2) for models in ({"a": [1, 2], "b": [1]}, {"b": [1], "a": [2, 1]})
    )
    assert one.configuration == other.configuration
    assert one.digest() == other.digest()
    assert one.digest() != launch({"a": [1], "b": [1]}, 2).digest()


def test_it_takes_as_many_threads_as_the_pod_has_processors():
    (config,) = configs({"a": [1]}, cpus=6).values()
    # As text: a number is not what every property of OpenVINO's is read from.
    assert config["plugin_config"] == {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": "6",
    }


def test_no_flag_says_what_the_file_says():
    made = launch({"a": [1]}, 2)
    assert not OF_ONE_MODEL & set(made.arguments)
    text = made.configuration or ""
    # Metrics that are turned on by both make the file invalid.
    assert json.loads(text)["monitoring"] == {"metrics": {"enable": True}}
    assert "--metrics_enable" not in made.arguments


def test_files_that_change_are_not_looked_for():
    arguments = launch({"a": [1]}, 2).arguments
    assert arguments[arguments.index("--file_system_poll_wait_seconds") + 1] == "0"
    assert arguments[arguments.index("--config_path") + 1] is Slot.CONFIGURATION


def test_it_is_judged_by_the_servers_readiness_and_told_by_each_models_state():
    made = launch({"a": [1, 2], "b": [1]}, 2)
    assert (made.probe.path, made.probe.live_path) == ("/v2/health/ready", "/v2/health/live")
    assert made.probe.state_path == "/v1/config"
    assert (made.api_path, made.model_id, made.slots) == ("", None, 3)
    assert form_for(made, GKE_POOL) is Form.POD
