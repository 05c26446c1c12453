"""The pods of rendered objects, run as processes of this machine without any cluster.

Each has a network of its own, where the names of Services lead to the others; init containers are
on this machine's network. Volumes stay as long as their folder does.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cluster.api import Object

from components.rendering.kubernetes.names import SERVER_PORT
from pods.relay import Relay
from pods.sandbox import Bind, Image, Network, Process
from pods.volumes import Volumes


class Applied:
    """Objects as an API server gives them, Secrets with their data encoded."""

    def __init__(self, objects: Sequence[Object], volumes: Path) -> None:
        self._volumes = volumes
        self._objects = {(one["kind"], one["metadata"]["name"]): one for one in objects}

    def need(self, kind: str, name: str, _namespace: str | None = None) -> Any:
        word = kind.rpartition("/")[2]
        if word == "PersistentVolumeClaim":
            (self._volumes / name).mkdir(parents=True, exist_ok=True)
            return {"spec": {"volumeName": name}}
        if word == "PersistentVolume":
            return {"spec": {"hostPath": {"path": str(self._volumes / name)}}}
        found = self._objects[word, name]
        if word != "Secret":
            return found
        given = found.get("stringData", {})
        data = {key: base64.b64encode(text.encode()).decode() for key, text in given.items()}
        return {**found, "data": data}


class Pod:
    """A workload's first pod. `services` has the names of Services, and a way to each."""

    def __init__(
        self,
        applied: Applied,
        workload: Object,
        folder: Path,
        images: Mapping[str, Image],
        internet: Mapping[str, str],
        services: Mapping[str, Callable[[], socket.socket]],
    ) -> None:
        self._applied = applied
        self._folder = folder
        self._images = images
        self._internet = internet
        template = workload["spec"]["template"]
        namespace = workload["metadata"]["namespace"]
        self._spec = template["spec"]
        self._user = self._spec["securityContext"]["runAsUser"]
        claims = [
            {
                "name": one["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": f"{workload['metadata']['name']}-0"},
            }
            for one in workload["spec"].get("volumeClaimTemplates", ())
        ]
        volumes = [*self._spec["volumes"], *claims]
        pod = {"metadata": {"namespace": namespace}, "spec": {**self._spec, "volumes": volumes}}
        self._volumes: dict[str, Path] = Volumes(
            applied,
            pod,
            folder / "volumes",
            self._user,  # type: ignore[arg-type]
        ).make()
        self.network = Network()
        self._names: dict[str, str] = {}
        self._relays: list[Relay] = []
        self._processes: list[Process] = []
        for number, (name, connect) in enumerate(services.items(), 1):
            address = f"127.0.1.{number}"
            self._names[f"{name}.{namespace}.svc.cluster.local {name}"] = address
            self._relays.append(Relay(self.network.listen(address, SERVER_PORT), connect))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.status is None:
                process.kill()
        for relay in self._relays:
            relay.close()
        self.network.close()

    def volume(self, name: str) -> Path:
        """Return the folder of a volume."""
        return self._volumes[name]

    def log(self, container: str) -> str:
        """Return what a container has printed, whenever it ran."""
        files = sorted(self._folder.glob(f"{container}.*.log"))
        return "".join(file.read_text(errors="replace") for file in files)

    def begin(self, container: str, **changed: str) -> Process:
        """Start a container, with `changed` variables, and return its process."""
        is_first = {one["name"]: True for one in self._spec.get("initContainers", ())}
        found = [*self._spec.get("initContainers", ()), *self._spec["containers"]]
        (wanted,) = [one for one in found if one["name"] == container]
        number = len(self._processes)
        root = self._folder / f"root-{number}"
        outside = container in is_first
        environment = {one["name"]: self._value(one) for one in wanted.get("env", ())}
        process = Process(
            self.network,
            self._images[wanted["image"]],
            root,
            [*wanted["command"], *wanted.get("args", ())],
            {**(self._internet if outside else {}), **environment, **changed},
            [
                Bind(one["mountPath"], self._volumes[one["name"]], not one.get("readOnly", False))
                for one in wanted["volumeMounts"]
            ],
            {} if outside else self._names,
            self._user,
            self._folder / f"{container}.{number}.log",
            outside=outside,
        )
        self._processes.append(process)
        return process

    def _value(self, variable: Object) -> str:
        if "value" in variable or "valueFrom" not in variable:
            return variable.get("value", "")
        ((kind, place),) = variable["valueFrom"].items()
        if kind == "configMapKeyRef":
            return self._applied.need("v1/ConfigMap", place["name"])["data"][place["key"]]
        data = self._applied.need("v1/Secret", place["name"])["data"]
        return base64.b64decode(data[place["key"]]).decode()
