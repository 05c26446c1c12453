"""What the containers of pods on hollow nodes run, as processes of this machine.

Every pod has a network of its own. The names of Services lead to ready pods, as far as the network
policies let them; init containers come first and in order, and are on this machine's network, where
they find package index and hub. A pod is ready while its containers' readiness probes pass.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import requests
from cluster.api import Api, ApiError, Object, Objects
from cluster.plane import ControlPlane

from pods.policies import Policies
from pods.relay import Relay
from pods.sandbox import Bind, Image, Network, Process
from pods.volumes import Volumes

_LOOK_SECONDS = 0.2
_API_PORT = "KUBERNETES_SERVICE_PORT"


@dataclass
class Container:
    """A container's process, and where its output is."""

    log: Path
    process: Process | None = None


@dataclass
class Pod:
    """A pod whose containers run here."""

    value: Object
    folder: Path
    network: Network
    volumes: Volumes
    user: int
    containers: dict[str, Container] = field(default_factory=dict)
    relays: list[Relay] = field(default_factory=list)
    failure: str | None = None
    ending: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return self.value["metadata"]["name"]

    @property
    def namespace(self) -> str:
        return self.value["metadata"]["namespace"]


class Runner:
    """Runs the pods of `namespace`, for a `with` statement. `images` are by their references.

    `internet` are variables by which init containers find package index and hub. `started` has
    every process that was started, by pod and container, and `problems` what went wrong.
    """

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        folder: Path,
        images: Mapping[str, Image],
        internet: Mapping[str, str],
    ) -> None:
        self._plane = plane
        self._namespace = namespace
        self._folder = folder
        self._images = images
        self._internet = internet
        # A client of its own: the threads of requests share no session.
        self._api = _another(plane)
        self._pods: dict[str, Pod] = {}
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._number = itertools.count()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.started: list[tuple[str, str]] = []
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for pod in list(self._pods.values()):
            self._end(pod)
        self._api.close()

    def log(self, namespace: str, pod: str, container: str) -> str | None:
        """Return what a container has printed; None where it has not begun."""
        found = self._find(namespace, pod)
        one = None if found is None else found.containers.get(container)
        if one is None or not one.log.exists():
            return None
        return one.log.read_text(encoding="utf-8", errors="replace")

    def connect(self, namespace: str, pod: str, port: int) -> socket.socket:
        """Return a connection to `port` of a pod, as the kubelet has one. Raises `OSError`."""
        found = self._find(namespace, pod)
        if found is None:
            raise ConnectionRefusedError(f"pod {pod} does not run")
        return found.network.connect(port)

    def serve(self, service: str, port: int, client: str) -> socket.socket:
        """Return a connection to a Service from the address `client` outside of the cluster."""
        return self._to_service(client, service, port)

    def logs(self) -> str:
        """Return all that was printed by all containers, of pods that are gone too."""
        files = sorted(self._folder.glob("*/*.log"))
        return "\n".join(
            f"{file.parent.name}/{file.name}:\n{file.read_text(errors='replace')}" for file in files
        )

    def process(self, pod: str, container: str) -> Process:
        """Return the process of a container that runs."""
        found = self._find(self._namespace, pod)
        assert found is not None, f"{pod} does not run"
        process = found.containers[container].process
        assert process is not None
        return process

    def _find(self, namespace: str, name: str) -> Pod | None:
        with self._lock:
            for pod in self._pods.values():
                if pod.name == name and pod.namespace == namespace:
                    return pod
        return None

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            try:
                listed = self._api.list("v1/Pod", self._namespace)
            except (ApiError, requests.RequestException) as error:
                if not isinstance(error, ApiError) or error.status != 404:
                    self.problems.append(str(error))
                continue
            there = {pod["metadata"]["uid"]: pod for pod in listed}
            for uid in set(self._pods) - set(there):
                with self._lock:
                    gone = self._pods.pop(uid)
                self._end(gone)
            for uid, pod in there.items():
                if uid not in self._pods and self._is_ours(pod):
                    self._mark(pod["metadata"]["name"], ready=False)
                    if pod["spec"].get("nodeName"):
                        self._begin(uid, pod)
            for pod in list(self._pods.values()):
                self._look_after(pod)

    def _is_ours(self, pod: Object) -> bool:
        containers: Objects = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        known = all(one["image"] in self._images for one in containers)
        return known and "deletionTimestamp" not in pod["metadata"]

    def _mark(self, name: str, *, ready: bool) -> None:
        place = self._plane.unready / f"{self._namespace}.{name}"
        if ready:
            place.unlink(missing_ok=True)
        else:
            place.touch()

    def _begin(self, uid: str, value: Object) -> None:
        name = value["metadata"]["name"]
        folder = self._folder / f"{next(self._number):02}-{name}"
        folder.mkdir()
        user = value["spec"]["securityContext"]["runAsUser"]
        volumes = Volumes(self._api, value, folder / "volumes", user)
        pod = Pod(value, folder, Network(), volumes, user)
        with self._lock:
            self._pods[uid] = pod
        pod.thread = threading.Thread(target=self._run, args=(pod,), daemon=True)
        pod.thread.start()

    def _run(self, pod: Pod) -> None:
        """Run the init containers one after the other, then the others."""
        try:
            folders = self._mounted(pod)
            if folders is None:
                return
            names = self._join(pod)
            for container in pod.value["spec"].get("initContainers", ()):
                process = self._start(pod, container, folders, {}, outside=True)
                while process.status is None:
                    if pod.ending.wait(_LOOK_SECONDS):
                        process.stop()
                        return
                if process.status != 0:
                    pod.failure = f"{container['name']} ended with status {process.status}"
                    self.problems.append(f"{pod.name}: {pod.failure}")
                    return
            for container in pod.value["spec"]["containers"]:
                self._start(pod, container, folders, names, outside=False)
        except Exception as error:
            pod.failure = f"{type(error).__name__}: {error}"
            self.problems.append(f"{pod.name}: {pod.failure}")

    def _mounted(self, pod: Pod) -> dict[str, Path] | None:
        """Return the pod's volumes once all are there; None where the pod ends before."""
        while True:
            try:
                return pod.volumes.make()
            except (ApiError, KeyError):
                # A claim that is not bound yet, or a Secret that is not there.
                if pod.ending.wait(_LOOK_SECONDS):
                    return None

    def _join(self, pod: Pod) -> dict[str, str]:
        """Give the pod's network a way to every Service, and return the address of each name.

        A port that the pod itself listens on leads nowhere else: it does so at every address.
        """
        names: dict[str, str] = {}
        own = {
            port["containerPort"]
            for container in pod.value["spec"]["containers"]
            for port in container.get("ports", ())
        }
        for number, service in enumerate(self._api.list("v1/Service", self._namespace), 1):
            name, address = service["metadata"]["name"], f"127.0.1.{number}"
            names[f"{name}.{self._namespace}.svc.cluster.local {name}"] = address
            for port in service["spec"]["ports"]:
                if port["port"] in own:
                    continue
                listening = pod.network.listen(address, port["port"])
                connect = self._way(pod, name, port["port"])
                pod.relays.append(Relay(listening, connect))
        server = urlsplit(self._plane.url)
        assert server.hostname is not None
        assert server.port is not None
        place = (server.hostname, server.port)
        pod.relays.append(
            Relay(pod.network.listen(*place), lambda: socket.create_connection(place, 10))
        )
        return names

    def _way(self, pod: Pod, service: str, port: int) -> Callable[[], socket.socket]:
        return lambda: self._to_service(pod.value, service, port)

    def _to_service(self, source: Object | str, service: str, port: int) -> socket.socket:
        """Return a connection to a ready pod of a Service. Raises `OSError`."""
        api = _another(self._plane)
        try:
            found = api.need("v1/Service", service, self._namespace)
            (named,) = [one["name"] for one in found["spec"]["ports"] if one["port"] == port]
            labels = f"kubernetes.io/service-name={service}"
            for piece in api.list("discovery.k8s.io/v1/EndpointSlice", self._namespace, labels):
                (number,) = [p["port"] for p in piece["ports"] or () if p["name"] == named] or [0]
                for endpoint in piece["endpoints"] or ():
                    if not endpoint["conditions"]["ready"]:
                        continue
                    target = self._find(self._namespace, endpoint["targetRef"]["name"])
                    if target is None:
                        continue
                    if not Policies(api).lets(source, target.value, number):
                        raise ConnectionRefusedError(f"no policy lets it to {service}:{number}")
                    return target.network.connect(number)
        except (ApiError, requests.RequestException) as error:
            raise ConnectionRefusedError(str(error)) from None
        finally:
            api.close()
        raise ConnectionRefusedError(f"no pod of {service} is ready")

    def _start(
        self,
        pod: Pod,
        container: Object,
        folders: Mapping[str, Path],
        names: Mapping[str, str],
        *,
        outside: bool,
    ) -> Process:
        image = self._images[container["image"]]
        variables = {**self._internet} if outside else {}
        variables |= {one["name"]: self._value(one) for one in container.get("env", ())}
        server = urlsplit(self._plane.url)
        variables["KUBERNETES_SERVICE_HOST"] = str(server.hostname)
        variables[_API_PORT] = str(server.port)
        binds = [
            Bind(one["mountPath"], folders[one["name"]], not one.get("readOnly", False))
            for one in container["volumeMounts"]
        ]
        name = container["name"]
        kept = Container(pod.folder / f"{name}.log")
        kept.process = Process(
            pod.network,
            image,
            pod.folder / f"root-{name}",
            # As the kubelet reads them, which expands $(NAME): nothing of ours has one.
            [
                word.replace("$$", "$")
                for word in (*container["command"], *container.get("args", ()))
            ],
            variables,
            binds,
            names,
            pod.user,
            kept.log,
            outside=outside,
        )
        pod.containers[name] = kept
        self.started.append((pod.name, name))
        return kept.process

    def _value(self, variable: Object) -> str:
        if "value" in variable or "valueFrom" not in variable:
            return variable.get("value", "").replace("$$", "$")
        source = variable["valueFrom"]
        if "secretKeyRef" in source:
            place = source["secretKeyRef"]
            found = self._api.need("v1/Secret", place["name"], self._namespace)
            return base64.b64decode(found["data"][place["key"]]).decode()
        place = source["configMapKeyRef"]
        found = self._api.need("v1/ConfigMap", place["name"], self._namespace)
        return found["data"][place["key"]]

    def _look_after(self, pod: Pod) -> None:
        """Bring what has changed into the pod's volumes, and see whether it is ready."""
        if pod.thread is not None and pod.thread.is_alive():
            return
        if pod.failure is None:
            with suppress(ApiError, KeyError):
                pod.volumes.refresh()
        ready = pod.failure is None and all(
            self._passes(pod, container) for container in pod.value["spec"]["containers"]
        )
        self._mark(pod.name, ready=ready)

    def _passes(self, pod: Pod, container: Object) -> bool:
        kept = pod.containers.get(container["name"])
        if kept is None or kept.process is None or kept.process.status is not None:
            return False
        probe = container.get("readinessProbe")
        if probe is None:
            return True
        action = probe.get("httpGet") or probe["tcpSocket"]
        (port,) = [
            one["containerPort"] for one in container["ports"] if one["name"] == action["port"]
        ]
        try:
            with pod.network.connect(port, 2.0) as connection:
                if "httpGet" not in probe:
                    return True
                asked = http.client.HTTPConnection("127.0.0.1", port)
                asked.sock = connection
                asked.request("GET", action["path"], headers={"User-Agent": "kube-probe/1.34"})
                return 200 <= asked.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False

    def _end(self, pod: Pod) -> None:
        pod.ending.set()
        if pod.thread is not None:
            pod.thread.join()
        for container in pod.containers.values():
            if container.process is not None and container.process.status is None:
                container.process.stop()
        for relay in pod.relays:
            relay.close()
        pod.network.close()
        self._mark(pod.name, ready=True)
        for place in pod.folder.glob("root-*"):
            with suppress(OSError):
                place.rmdir() if place.is_dir() else place.unlink()
        shutil.rmtree(pod.folder / "volumes", ignore_errors=True)


def _another(plane: ControlPlane) -> Api:
    return Api(plane.url, plane.token, str(plane.folder / "ca.pem"))
