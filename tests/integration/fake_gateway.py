"""The gateway of a fake cluster: what its pod would serve from the cluster's own objects."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_authority import Authority
from fake_endpoint import Exchange, FakeEndpoint
from fake_kubernetes import FakeKubernetes

HTTPS_PORT = 8443


class FakeGateway:
    """Serves for the pods of the Deployment `gateway`, by its Secrets and its ConfigMap.

    It is there as long as such a pod is, and answers for the model that the servers' StatefulSet
    names. For a `with` statement; `reach` is what a fake cluster asks of it.
    """

    def __init__(self, cluster: FakeKubernetes, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._lock = threading.Lock()
        self._endpoint: FakeEndpoint | None = None
        self._of = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._endpoint is not None:
            self._endpoint.__exit__()

    def reach(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        if not pod.startswith("gateway-") or port != HTTPS_PORT:
            return None
        with self._lock:
            authority = self._data("Secret", "gateway-ca")
            host = self._cluster.objects("ConfigMap")["gateway-host"]["data"]["host"]
            if self._of != authority["certificate.pem"] + host:
                self._serve(authority, host)
            assert self._endpoint is not None
            return "127.0.0.1", self._endpoint.port

    def accepts(self, key: str) -> bool:
        """Whether the cluster's Secret lets a key in."""
        known = json.loads(self._data("Secret", "gateway-keys")["keys.json"])
        return hashlib.sha256(key.encode()).hexdigest() in known.values()

    def _serve(self, authority: dict[str, str], host: str) -> None:
        if self._endpoint is not None:
            self._endpoint.__exit__()
        certificate = x509.load_pem_x509_certificate(authority["certificate.pem"].encode())
        signer = serialization.load_pem_private_key(authority["key.pem"].encode(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        own = Authority(self._folder / "gateway-ca.pem", certificate.subject, signer)
        self._endpoint = _Endpoint(self, model=self._model(), tls=own.context(address=host))
        self._endpoint.__enter__()
        self._of = authority["certificate.pem"] + host

    def _model(self) -> str:
        pod = self._cluster.objects("StatefulSet")["chat"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        words: list[str] = [*container["command"], *container.get("args", [])]
        return words[words.index("--model_name") + 1]

    def _data(self, kind: str, name: str) -> dict[str, str]:
        found: dict[str, Any] = self._cluster.objects(kind)[name]["data"]
        return {key: base64.b64decode(value).decode() for key, value in found.items()}


class _Endpoint(FakeEndpoint):
    def __init__(self, gateway: FakeGateway, **options: Any) -> None:
        super().__init__(**options)
        self._gateway = gateway

    def behave(self, exchange: Exchange) -> None:
        key = exchange.authorization.removeprefix("Bearer ")
        self.key = key if self._gateway.accepts(key) else "no key that came"
        super().behave(exchange)
