"""A program in the place of OpenVINO Model Server's that serves classic models, really computed.

`classic_engine.py --config_path FILE …`, by a Python that has PyPI's openvino. Flags, keys of the
file, paths, states and errors are those of github.com/openvinotoolkit/model_server: src/schema.cpp,
src/http_rest_api_handler.cpp, src/status.cpp, src/http_server.cpp, src/modelversionstatus.cpp.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from pods.flags import parsed

_KEYS = frozenset(
    {
        *("name", "base_path", "batch_size", "graph_path", "subconfig", "model_version_policy"),
        *("shape", "layout", "nireq", "target_device", "allow_cache", "plugin_config"),
        "custom_loader_options",
    }
)
_DATATYPES: Mapping[str, Any] = {
    "FP32": np.float32,
    "FP64": np.float64,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
}
_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([0-9]+))?/?(ready|infer)?")
_HEADER = "Inference-Header-Content-Length"


class Refused(Exception):
    """An answer with an error's status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Version:
    """A version of a model; `compiled` None: it could not be loaded."""

    compiled: Any = None

    def status(self, number: int) -> dict[str, Any]:
        state, code = ("AVAILABLE", "OK") if self.compiled else ("LOADING", "UNKNOWN")
        status = {"error_code": code, "error_message": code}
        return {"version": str(number), "state": state, "status": status}


class Models:
    """The models of a configuration."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[int, Version]] = {}
        self.ready = threading.Event()

    def load(self, configuration: Path) -> None:
        core = ov.Core()
        for entry in json.loads(configuration.read_text())["model_config_list"]:
            settings = entry["config"]
            if set(settings) - _KEYS:
                raise SystemExit(f"Configuration file has invalid format: {sorted(settings)}")
            wanted = settings["model_version_policy"]["specific"]["versions"]
            found = self.by_name.setdefault(settings["name"], {})
            for folder in sorted(Path(settings["base_path"]).iterdir()):
                if folder.is_dir() and folder.name.isdecimal() and int(folder.name) in wanted:
                    found[int(folder.name)] = _loaded(core, folder, settings)
        self.ready.set()

    def version(self, name: str, number: str | None) -> tuple[int, Version]:
        versions = self.by_name.get(name)
        if versions is None:
            raise Refused(404, "Model with requested name is not found")
        there = [each for each, version in versions.items() if version.compiled]
        chosen = int(number) if number else max(there, default=0)
        if chosen not in versions:
            raise Refused(404, "Model with requested version is not found")
        if versions[chosen].compiled is None:
            raise Refused(404, "Model with requested version is not loaded yet")
        return chosen, versions[chosen]

    def statuses(self) -> dict[str, Any]:
        return {
            name: {"model_version_status": [one.status(each) for each, one in versions.items()]}
            for name, versions in self.by_name.items()
        }

    def available(self, name: str) -> list[str]:
        return [str(each) for each, one in self.by_name[name].items() if one.compiled]


def _loaded(core: Any, folder: Path, settings: Mapping[str, Any]) -> Version:
    try:
        (file,) = folder.glob("*.xml")
        model = core.read_model(file)
        return Version(core.compile_model(model, settings["target_device"]))
    except (ValueError, RuntimeError) as error:
        print(f"Cannot load model {settings['name']} version {folder.name}: {error}", flush=True)
        return Version()


def _datatype(port: Any) -> str:
    kind = port.get_element_type().to_dtype()
    return next(name for name, each in _DATATYPES.items() if np.dtype(each) == kind)


def _described(ports: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": port.get_any_name(),
            "datatype": _datatype(port),
            "shape": [
                -1 if each.is_dynamic else each.get_length() for each in port.get_partial_shape()
            ],
        }
        for port in ports
    ]


def _tensors(compiled: Any, body: bytes, header: str | None) -> dict[str, Any]:
    """Return the inputs of a request by name, and `outputs` that are wanted in binary form."""
    end = len(body) if header is None else int(header)
    if end > len(body):
        raise Refused(400, "Inference-Header-Content-Length header exceeds actual payload length")
    try:
        request: Any = json.loads(body[:end])
    except ValueError:
        raise Refused(412, "The file is not valid json") from None
    rest, found = body[end:], dict[str, Any]()
    ports = {port.get_any_name(): port for port in compiled.inputs}
    if set(ports) != {entry["name"] for entry in request["inputs"]}:
        raise Refused(400, "Invalid number of inputs")
    for entry in request["inputs"]:
        if entry["datatype"] != _datatype(ports[entry["name"]]):
            raise Refused(400, "Invalid input precision")
        kind = _DATATYPES[entry["datatype"]]
        if "data" in entry:
            values = np.array(entry["data"], kind)
        else:
            size = entry.get("parameters", {}).get("binary_data_size")
            size = int(np.prod(entry["shape"])) * np.dtype(kind).itemsize if size is None else size
            if size > len(rest):
                raise Refused(
                    400, "Received buffer size is smaller than binary_data_size parameter indicates"
                )
            values, rest = np.frombuffer(rest[:size], kind), rest[size:]
        if values.size != np.prod(entry["shape"]):
            raise Refused(400, "Invalid content size of tensor proto")
        found[entry["name"]] = values.reshape(entry["shape"])
    binary = {
        entry["name"]
        for entry in request.get("outputs", ())
        if entry.get("parameters", {}).get("binary_data")
    }
    return {"inputs": found, "binary": binary}


def infer(
    name: str, number: int, compiled: Any, body: bytes, header: str | None
) -> tuple[bytes, int | None]:
    """Return the answer to a request, and the length of its JSON where tensors follow."""
    asked = _tensors(compiled, body, header)
    for port in compiled.inputs:
        if not port.get_partial_shape().compatible(
            ov.PartialShape(list(asked["inputs"][port.get_any_name()].shape))
        ):
            raise Refused(400, "Invalid input shape")
    computed = compiled(asked["inputs"])
    outputs: list[dict[str, Any]] = []
    binary = b""
    for port in compiled.outputs:
        value = np.ascontiguousarray(computed[port])
        output = {
            "name": port.get_any_name(),
            "shape": [*value.shape],
            "datatype": _datatype(port),
        }
        if output["name"] in asked["binary"]:
            output["parameters"] = {"binary_data_size": value.nbytes}
            binary += value.tobytes()
        else:
            output["data"] = value.ravel().tolist()
        outputs.append(output)
    answer = {"model_name": name, "model_version": str(number), "outputs": outputs}
    text = json.dumps(answer).encode()
    return text + binary, len(text) if binary else None


def _handler(models: Models) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            print(f"{self.command} {self.path}", flush=True)
            try:
                answer, length = self._answer(body)
                status = 200
            except Refused as error:
                status, answer, length = error.status, _json({"error": str(error)}), None
            self.send_response(status)
            if length is not None:
                self.send_header(_HEADER.lower(), str(length))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = _any

        def _answer(self, body: bytes) -> tuple[bytes, int | None]:
            match self.command, self.path:
                case "GET", "/v2/health/live":
                    return b"", None
                case "GET", "/v2/health/ready":
                    if not models.ready.is_set():
                        raise Refused(503, "Server not in ready state")
                    return b"", None
                case "GET", "/v2":
                    return _json({"name": "OpenVINO Model Server", "version": "stand-in"}), None
                case "GET", "/v1/config":
                    return _json(models.statuses()), None
            match = _PATH.fullmatch(self.path)
            if match is None:
                raise Refused(400, "Invalid request URL")
            name, number, verb = match.groups()
            if (self.command == "POST") != (verb == "infer"):
                raise Refused(406, "Unsupported method")
            chosen, version = models.version(name, number)
            if verb == "infer":
                header = self.headers.get(_HEADER)
                return infer(name, chosen, version.compiled, body, header)
            if verb == "ready":
                return b"", None
            metadata = {
                "name": name,
                "versions": models.available(name),
                "platform": "OpenVINO",
                "inputs": _described(version.compiled.inputs),
                "outputs": _described(version.compiled.outputs),
            }
            return _json(metadata), None

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    return Handler


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def main(words: Sequence[str]) -> None:
    flags = parsed(words)
    if {"--model_name", "--model_path"} & set(flags):
        raise SystemExit("Use either config_path or model_path with model_name")
    models = Models()
    where = (flags["--rest_bind_address"], int(flags["--rest_port"]))
    server = ThreadingHTTPServer(where, _handler(models))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"REST server started on port {where[1]}", flush=True)
    models.load(Path(flags["--config_path"]))
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
