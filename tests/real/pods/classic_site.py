"""A registry of models for real, and the pods of a stack that has its models from there.

The storage is moto's; pods are rendered objects, whose containers run here as processes with the
rendered commands, environments and mounts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import real_packages
import requests
from cluster.api import Object
from cutting_proxy import CuttingProxy
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from components.models.registry import parse_registry_url
from components.rendering.kubernetes import names
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.render import render
from components.settings import load
from components.settings.gke_ovms import GkeOvmsSettings
from components.settings.secrets import MarkedSecret
from machine.pod.model import packages_folder
from pods.alone import Applied, Pod
from pods.deployed import ROOT
from pods.images import images
from pods.relay import Relay
from pods.sandbox import Image
from scripts import own_ca
from stacks import gke_ovms

BUCKET = "models-of-the-test"
API_KEY = "sk-of-the-test"
SECONDS = 60.0
_LOCKS = ROOT / "requirements"


class HoldingProxy(CuttingProxy):
    """Passes bytes, and can keep back what comes after so many of an answer."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.holding, self.let_go = threading.Event(), threading.Event()
        self.answered = 0

    def hold_after(self, count: int) -> None:
        """Keep back what answers have beyond so many bytes from now on, until `let_go`."""
        self.reset()
        self.holding.clear()
        self.let_go.clear()
        self.answered, self.answers = 0, [count]

    def _allowed(self, budgets: list[int], count: int) -> int:
        if budgets is self.requests:
            return count
        self.answered += count
        if budgets and self.answered > budgets[0]:
            self.holding.set()
            self.let_go.wait(SECONDS)
        return count


@dataclass
class Registry:
    """The storage, the URL by which all know it, and the access key of the one who may."""

    url: str
    proxy: HoldingProxy
    keys: dict[str, str] = field(repr=False)

    def run(self, *words: str, **environment: str) -> str:
        """Run `python -m scripts.model_registry`, which has to end well; return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "scripts.model_registry", *words],
            cwd=ROOT,
            env={**os.environ, **self.keys, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stored(self, path: str) -> Any:
        """Return an object as moto has it, whose `value` can be changed."""
        key = parse_registry_url(self.url).key(path)
        return s3_backends["123456789012"]["aws"].get_object(BUCKET, key)


@contextmanager
def registry() -> Iterator[Registry]:
    """Yield an empty registry, every request to which is checked."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    proxy = HoldingProxy(server.get_host_and_port()[1])
    try:
        keys = _user(endpoint)
        _check_after(endpoint, "0")
        where = f"s3://{BUCKET}/team?endpoint=http://127.0.0.1:{proxy.port}&region=us-east-1"
        made = Registry(where, proxy, keys)
        made.run("make", where)
        yield made
    finally:
        _check_after(endpoint, "inf")
        proxy.close()
        server.stop()


def _check_after(endpoint: str, count: str) -> None:
    """Have moto check signatures and rights after so many more requests."""
    done = requests.post(f"{endpoint}/moto-api/reset-auth", data=count, timeout=10)
    done.raise_for_status()


def _user(endpoint: str) -> dict[str, str]:
    """Make a user who may do all with the storage, and return its access key as variables."""
    test = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    iam = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1", **test)
    iam.create_user(UserName="registry")
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="registry", PolicyName="storage", PolicyDocument=policy)
    key = iam.create_access_key(UserName="registry")["AccessKey"]
    return {
        names.REGISTRY_KEY_ID: key["AccessKeyId"],
        names.REGISTRY_SECRET_KEY: key["SecretAccessKey"],
    }


def planned(registry: Registry, chat: str, *classic: str) -> PodPlan:
    """Return the plan of a stack whose chat model, too, is one of the registry."""
    given = {
        "gcp:project": "example-project",
        "gcp:zone": "europe-west4-a",
        "model": f"registry:{chat}",
        "registry": f"s3://{BUCKET}?endpoint=https://storage.example.org",
        "registry_key_id": MarkedSecret(registry.keys[names.REGISTRY_KEY_ID]),
        "registry_secret_key": MarkedSecret(registry.keys[names.REGISTRY_SECRET_KEY]),
        "classic_models": " ".join(classic),
    }
    plan = gke_ovms.plan(load(GkeOvmsSettings, given, {}), "classic")
    assert plan.registry is not None
    # Settings refuse this machine's own address, which is another one in a pod, and is not in ours.
    there = replace(plan.registry, url=parse_registry_url(registry.url))
    return replace(plan, registry=there)


@dataclass
class Endpoint:
    """The pods of a plan, by their workloads' names."""

    plan: PodPlan
    pods: dict[str, Pod]
    ca_file: Path
    stack: ExitStack
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def pull(self, server: str, **changed: str) -> int:
        """Run a server's init container to its end, and return its status."""
        return self.pods[server].begin("model", **changed).wait(SECONDS)

    def serve(self) -> None:
        """Start every server, and the gateway before them."""
        for server in self.plan.servers:
            self.pods[server.name].begin("server")
        gateway = self.pods[names.GATEWAY]
        for path in real_packages.as_in_pods(_LOCKS / names.LOCK).iterdir():
            target = gateway.volume("packages") / path.name
            _copied(path, target) if path.is_dir() else _linked(str(path), str(target))
        for container in ("gateway", "caddy"):
            gateway.begin(container)
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = listening.getsockname()[1]
        relay = Relay(listening, lambda: gateway.network.connect(names.HTTPS_PORT, 5.0))
        self.stack.callback(relay.close)

    def session(self) -> requests.Session:
        """Return a client with the key, which trusts the authority alone."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.ca_file)
        session.headers["Authorization"] = f"Bearer {API_KEY}"
        return session

    def until_health(self, part: str) -> None:
        """Return when the health page has `part` in it."""
        deadline = time.monotonic() + SECONDS
        text = ""
        while part not in text:
            assert time.monotonic() < deadline, f"{text}\n{self.logs()}"
            try:
                text = self.session().get(f"{self.url}/health", timeout=5).text
            except requests.ConnectionError as error:
                text = str(error)
            time.sleep(0.1)

    def verify(self, *more: str) -> Any:
        """Run the verification that a deployment runs, and return how it ended."""
        words = [
            *("--key-env", "KEY", "--ca-file", str(self.ca_file), "--probe-path", "/health"),
            *("--engine", "ovms", "--concurrency", "2", "--check-seconds", "20"),
            *("--classic", ",".join(str(m) for s in self.plan.servers for m in s.models)),
        ]
        return subprocess.run(
            [sys.executable, "-m", "scripts.verify", *words, *more, self.url],
            cwd=ROOT,
            env={**os.environ, "KEY": API_KEY},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def logs(self) -> str:
        containers = ("model", "server", "gateway", "caddy")
        return "\n".join(
            f"{name}/{container}: {text[-3000:]}"
            for name, pod in self.pods.items()
            for container in containers
            if (text := pod.log(container))
        )


@dataclass
class Site:
    """Where pods run: their images, their authority, and the volumes that outlive them."""

    folder: Path
    images: dict[str, Image]
    authority: own_ca.Authority

    @contextmanager
    def endpoint(self, registry: Registry, plan: PodPlan) -> Iterator[Endpoint]:
        """Yield the pods of `plan`, none of whose containers runs yet."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        folder.chmod(0o755)
        objects = self._with_late_data(registry, plan)
        applied = Applied(objects, self.folder / "volumes")
        by_name = {
            one["metadata"]["name"]: one
            for one in objects
            if one["kind"] in {"StatefulSet", "Deployment"}
        }
        ca_file = folder / "ca.pem"
        ca_file.write_text(self.authority.certificate)
        with ExitStack() as stack:
            pods: dict[str, Pod] = {}
            ways = {
                server.name: lambda name=server.name: pods[name].network.connect(
                    names.SERVER_PORT, 5.0
                )
                for server in plan.servers
            }
            for name in (*ways, names.GATEWAY):
                (folder / name).mkdir()
                services = ways if name == names.GATEWAY else {}
                internet = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
                pod = Pod(applied, by_name[name], folder / name, self.images, internet, services)
                pods[name] = stack.enter_context(pod)
                if name in ways:
                    _have_packages(pod)
            yield Endpoint(plan, pods, ca_file, stack)

    def _with_late_data(self, registry: Registry, plan: PodPlan) -> list[Object]:
        """Return the objects with what only the deployment knows."""
        keys = {"default": hashlib.sha256(API_KEY.encode()).hexdigest()}
        late = {
            names.KEYS_SECRET: {names.KEYS_FILE: json.dumps(keys)},
            names.CA_SECRET: {
                names.CA_CERTIFICATE: self.authority.certificate,
                names.CA_KEY: self.authority.key,
            },
            names.REGISTRY_SECRET: registry.keys,
        }
        objects: list[Object] = []
        for one in render(plan).objects:
            given = late.get(one["metadata"]["name"]) if one["kind"] == "Secret" else None
            objects.append(one if given is None else {**one, "stringData": given})
        return objects


def _have_packages(pod: Pod) -> None:
    """Have a server's volume as an earlier start of its pod left it: with the packages."""
    lock = _LOCKS / names.REGISTRY_LOCK
    target = packages_folder(lock, pod.volume("models"))
    if not target.exists():
        _copied(real_packages.as_in_pods(lock), target)


def _copied(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_linked)


def _linked(source: str, target: str) -> None:
    """Have a file at `target` too, which no pod may write: they are not root."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def site(host: str) -> Iterator[Site]:
    """Yield a site whose authority vouches for `host`."""
    # Who is not root has to get at what the pods mount.
    with tempfile.TemporaryDirectory(prefix="classic-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        authority = own_ca.make(f"{host} 127.0.0.1 localhost", datetime.now(UTC))
        yield Site(folder, images(folder, pip=False, classic=True), authority)
