"""A program in the place of OpenVINO Model Server's: its flags, its paths, and answers of its own.

`python -m pods.engine FLAGS`. It refuses flags that the real one does not have, and serves only a
folder that has a model in it. Paths: github.com/openvinotoolkit/model_server, docs
(model_server_rest_api_*.md).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fake_endpoint import Exchange, FakeEndpoint

from pods.flags import parsed

LOADING_SECONDS = 1.0
_MODEL = {
    "text_generation": ("openvino_model.xml", "openvino_tokenizer.xml"),
    "embeddings": ("openvino_model.xml", "openvino_tokenizer.xml"),
}


class Engine(FakeEndpoint):
    """Serves what `flags` say; the model is there a second after the start."""

    def __init__(self, flags: dict[str, str]) -> None:
        self._task = flags["--task"]
        super().__init__(model=flags["--model_name"], port=int(flags["--rest_port"]))
        self._loaded = threading.Event()
        threading.Timer(LOADING_SECONDS, self._loaded.set).start()

    def behave(self, exchange: Exchange) -> None:
        path = exchange.path
        if path == "/v2/health/live":
            exchange.json(200, {})
        elif path == f"/v2/models/{self.model}/ready":
            exchange.send(200 if self._loaded.is_set() else 404, b"")
        elif path == "/v1/config":
            status = {"error_code": "OK", "error_message": "OK"}
            version = {"version": "1", "state": "AVAILABLE", "status": status}
            model = {self.model: {"model_version_status": [version]}}
            # Of one that is being loaded it says nothing.
            exchange.json(200, model if self._loaded.is_set() else {})
        elif path == "/v3/models":
            entry = {"id": self.model, "object": "model", "created": 1, "owned_by": "OVMS"}
            exchange.json(200, {"object": "list", "data": [entry]})
        elif path == self._answered() and exchange.body.get("model") == self.model:
            exchange.path = path.replace("/v3/", "/v1/")
            super().behave(exchange)
        else:
            exchange.error(404, f"no such path: {path}")

    def _answered(self) -> str:
        word = "chat/completions" if self._task == "text_generation" else "embeddings"
        return f"/v3/{word}"


def main(words: Sequence[str]) -> None:
    flags = parsed(words)
    folder = Path(flags["--model_path"])
    for name in _MODEL[flags["--task"]]:
        # Through the link that the init container has left.
        if not (folder / name).is_file():
            raise SystemExit(f"{folder} has no {name}")
    with Engine(flags) as engine:
        print(f"REST server started on port {engine.port}", flush=True)
        engine.closing.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
