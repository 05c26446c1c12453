"""A runtime's pod: its containers as the renderer says, begun and ended in the kubelet's order.

In place of the images are restic, Caddy and Jupyter of this machine; of a disk, a folder.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pods.relay import Relay
from pods.sandbox import Bind, Image, Network, Process

from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.colab.render import render

Object = dict[str, Any]
STORAGE = ("127.0.0.9", 9900)
"""Address and port by which the pod finds the storage of its backups. No name: moto takes a name's
first word for that of a bucket."""
_PATH = "/opt/image:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOME = "/home"
"""Not /root, where this machine's Python may be."""
_READY_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@dataclass
class Disks:
    """The folders of the claims, by the claims' names; they outlive a pod."""

    folder: Path

    def of(self, claim: str) -> Path:
        place = self.folder / claim
        place.mkdir(parents=True, exist_ok=True)
        return place

    def lose(self) -> None:
        """Have all disks be new ones."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class RuntimePod:
    """A pod of `plan`, for a `with` statement: it runs from `start` until it is evicted or killed.

    `images` are by their references, `secrets` have the data of Secrets by their names, and
    `storage` is the port of 127.0.0.1 that `STORAGE` leads to.
    """

    plan: ColabPlan
    disks: Disks
    folder: Path
    images: Mapping[str, Image]
    secrets: Mapping[str, Mapping[str, str]]
    storage: int
    processes: dict[str, Process] = field(default_factory=dict)
    port: int = 0
    """Of 127.0.0.1: a port-forward to the Service."""

    def __post_init__(self) -> None:
        self._objects = [dict(one) for one in render(self.plan).objects]
        deployment = self._object("Deployment", "colab-runtime")
        self.spec: Object = deployment["spec"]["template"]["spec"]
        # By which its processes are known, whatever they have made of themselves.
        self._mark = f"CONTAINERS_OF={uuid.uuid4()}".encode()
        self._network = Network()
        self._relays: list[Relay] = []
        self.folder.mkdir(parents=True)

    def __enter__(self) -> Self:
        reach = self.storage
        listening = self._network.listen(*STORAGE)
        self._relays.append(
            Relay(listening, lambda: socket.create_connection(("127.0.0.1", reach), 10))
        )
        outside = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = outside.getsockname()[1]
        (service,) = self._object("Service", "colab-runtime")["spec"]["ports"]
        target = self._port(service["targetPort"])
        self._relays.append(Relay(outside, lambda: self._network.connect(target)))
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for relay in self._relays:
            relay.close()
        self._network.close()

    def start(self) -> None:
        """Run the init containers, then all others, until each of them is ready."""
        for container in self.spec.get("initContainers", ()):
            process = self.run(container)
            if container.get("restartPolicy") != "Always":
                status = process.wait(_READY_SECONDS)
                assert status == 0, f"{container['name']} came to {status}:\n{self.log()}"
        for container in self.spec["containers"]:
            self.run(container)
        for container in self.spec["containers"]:
            self._until(lambda one=container: self.is_ready(one), f"{container['name']} is ready")

    def container(self, name: str) -> Object:
        (found,) = [
            one
            for one in (*self.spec.get("initContainers", ()), *self.spec["containers"])
            if one["name"] == name
        ]
        return found

    def run(self, container: Object, command: list[str] | None = None) -> Process:
        """Start a container, or `command` in one like it."""
        name = container["name"] if command is None else f"{container['name']}-hook"
        image = self.images[container["image"]]
        binds = [
            Bind(one["mountPath"], self._volume(one["name"]), not one.get("readOnly", False))
            for one in container["volumeMounts"]
        ]
        variables = {one["name"]: self._value(one) for one in container["env"]}
        # What the image itself says.
        key, _, value = self._mark.decode().partition("=")
        own = {"PATH": _PATH, "HOME": _HOME, key: value}
        words = command or container.get("command", ["sh", "/opt/image/entrypoint"])
        number = len(list(self.folder.glob(f"{name}.*.log")))
        if container["name"] == "runtime":
            binds += [Bind(path, self._scratch("own"), True) for path in (_HOME, "/tmp")]
        process = Process(
            self._network,
            image,
            self.folder / f"root-{name}-{number}",
            words,
            {**own, **variables},
            binds,
            {},
            container["securityContext"].get("runAsUser", 0),
            self.folder / f"{name}.{number}.log",
            outside=False,
        )
        if command is None:
            self.processes[name] = process
        return process

    def evict(self, seconds: float) -> float:
        """End the pod as the kubelet does, in at most `seconds`; return how long it took.

        All preStop hooks begin at once. A container is told to end when its own has ended, and one
        that keeps running beside the others not before all of those have ended.
        """
        began = time.monotonic()
        deadline = began + seconds
        sidecars = [one for one in self.spec.get("initContainers", ()) if "restartPolicy" in one]
        ended = {one["name"]: threading.Event() for one in self.spec["containers"]}

        def end(container: Object, after: list[threading.Event]) -> None:
            hook = container.get("lifecycle", {}).get("preStop")
            if hook is not None:
                made = self.run(container, hook["exec"]["command"])
                _wait(made, deadline)
            for event in after:
                event.wait(max(0.0, deadline - time.monotonic()))
            process = self.processes[container["name"]]
            os.kill(process.pid, signal.SIGTERM)
            _wait(process, deadline)
            ended.get(container["name"], threading.Event()).set()

        threads = [
            threading.Thread(target=end, args=(one, after))
            for group, after in (
                (self.spec["containers"], []),
                (sidecars, list(ended.values())),
            )
            for one in group
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.kill()
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as a node does that vanishes: whatever its containers have begun, at once."""
        for place in Path("/proc").glob("[0-9]*"):
            try:
                its = (place / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if self._mark in its:
                with suppress(ProcessLookupError):
                    os.kill(int(place.name), signal.SIGKILL)
        for process in self.processes.values():
            process.wait(_READY_SECONDS)

    def is_ready(self, container: Object) -> bool:
        """Whether its readiness probe passes."""
        process = self.processes[container["name"]]
        assert process.status is None, f"{container['name']} ended:\n{self.log()}"
        probe = container["readinessProbe"]
        action = probe.get("httpGet") or probe["tcpSocket"]
        port = self._port(action["port"])
        try:
            with self._network.connect(port, 2.0) as connection:
                if "httpGet" not in probe:
                    return True
                asked = http.client.HTTPConnection("10.0.0.7", port)
                asked.sock = connection
                given = {one["name"]: one["value"] for one in action["httpHeaders"]}
                asked.request("GET", action["path"], headers=given)
                return asked.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def log(self) -> str:
        """Return what all containers have printed."""
        return "\n".join(
            f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"not so: {what}\n{self.log()}"
            time.sleep(_LOOK_SECONDS)

    def _object(self, kind: str, name: str) -> Object:
        (found,) = [
            one
            for one in self._objects
            if one["kind"] == kind and one["metadata"]["name"] == name  # type: ignore[index]
        ]
        return found

    def _port(self, name: str) -> int:
        (found,) = [
            port["containerPort"]
            for one in self.spec["containers"]
            for port in one["ports"]
            if port["name"] == name
        ]
        return found

    def _value(self, variable: Object) -> str:
        if "value" in variable:
            return variable["value"].replace("$$", "$")
        wanted = variable["valueFrom"]["secretKeyRef"]
        return self.secrets[wanted["name"]][wanted["key"]]

    def _volume(self, name: str) -> Path:
        (volume,) = [one for one in self.spec["volumes"] if one["name"] == name]
        if "persistentVolumeClaim" in volume:
            return self.disks.of(volume["persistentVolumeClaim"]["claimName"])
        if "emptyDir" in volume:
            return self._scratch(name)
        place = self.folder / f"volume-{name}"
        if not place.exists():
            place.mkdir()
            data = self._object("ConfigMap", volume["configMap"]["name"]).get("data", {})
            for key, text in data.items():
                (place / key).write_text(text)
        return place

    def _scratch(self, name: str) -> Path:
        place = self.folder / f"empty-{name}"
        place.mkdir(exist_ok=True)
        place.chmod(0o1777)
        return place


def _wait(process: Process, deadline: float) -> None:
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
