"""OpenVINO Model Server with classic models: several, in several versions, by its `config.json`.

Keys of that file: `src/schema.cpp` of github.com/openvinotoolkit/model_server, v2026.3, which takes
no others; models lie as `docs/models_repository_classic.md` says, a folder each and in it one a
version. They are asked for by KServe's REST API, version 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from components.engines.ovms import NAME, PROGRAM
from components.launch import Accelerator, Form, Launch, Probe, Slot


def launch(models: Mapping[str, Sequence[int]], cpus: int) -> Launch:
    """Return how one server serves the versions of each model on so many processors.

    The folders of the models lie in `Slot.MODEL`. The server is ready although a model can't be
    loaded, which only its state tells. Nothing is loaded anew when files change: a model of which
    half is there would be taken.
    """
    return Launch(
        engine=NAME,
        program=PROGRAM,
        arguments=(
            "--config_path",
            Slot.CONFIGURATION,
            "--rest_port",
            Slot.PORT,
            "--rest_bind_address",
            Slot.HOST,
            "--file_system_poll_wait_seconds",
            "0",
            "--log_level",
            "INFO",
        ),
        model_id=None,
        probe=Probe("/v2/health/ready", live_path="/v2/health/live", state_path="/v1/config"),
        forms=frozenset({Form.POD}),
        accelerators=frozenset({Accelerator.CPU}),
        # By latency, each version reckons one request at a time.
        slots=sum(len(versions) for versions in models.values()),
        api_path="",
        configuration=_configuration(models, cpus),
    )


def _configuration(models: Mapping[str, Sequence[int]], cpus: int) -> str:
    content = {
        "model_config_list": [
            {
                "config": {
                    "name": name,
                    "base_path": f"{Slot.MODEL}/{name}",
                    "model_version_policy": {"specific": {"versions": sorted(models[name])}},
                    "target_device": "CPU",
                    "plugin_config": {
                        "PERFORMANCE_HINT": "LATENCY",
                        # It would start one for each core of the node, of which a pod has a part.
                        "INFERENCE_NUM_THREADS": str(cpus),
                    },
                }
            }
            for name in sorted(models)
        ],
        "monitoring": {"metrics": {"enable": True}},
    }
    return json.dumps(content, indent=2) + "\n"
