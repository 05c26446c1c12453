"""A VM that boots at once: an HTTPS endpoint with the stack's own authority and keys."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_authority import Authority
from fake_endpoint import FakeEndpoint

PORT = 443


class FakeVm:
    """What the emulated cloud in `folder` runs for a VM: it serves `model` on `address`, port 443.

    Keys are read anew for each request, as the machine reads its own each minute. `broken` makes
    the next machine fail to come up. While `held` is clear, who orders a machine waits for it.
    """

    def __init__(self, folder: Path, address: str, model: str) -> None:
        self.made = 0
        self.broken = False
        self.held = threading.Event()
        self.held.set()
        self.ordered = threading.Event()
        self._folder = folder
        self._address = address
        self._model = model
        self._endpoint: FakeEndpoint | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def obey(self, action: str, instance: Mapping[str, object]) -> str:
        """Carry out an order of the emulated cloud."""
        if action == "create":
            if self.broken:
                raise RuntimeError("the zone has no such machine left")
            self.made += 1
            self.ordered.set()
            self.held.wait(60)
        if action in ("create", "start"):
            self._endpoint = _Endpoint(
                self._folder, self._model, tls=self._context(), address=self._address, port=PORT
            )
            self._endpoint.__enter__()
        if action in ("stop", "delete"):
            self._stop()
        return "TERMINATED" if self._endpoint is None else "RUNNING"

    def _stop(self) -> None:
        if self._endpoint is not None:
            self._endpoint.__exit__()
            self._endpoint = None

    def _context(self) -> ssl.SSLContext:
        stored = json.loads(next((self._folder / "payloads").glob("*-ca")).read_text())
        authority = x509.load_pem_x509_certificate(stored["certificate"].encode())
        signer = serialization.load_pem_private_key(stored["key"].encode(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        own = Authority(self._folder / "ca.pem", authority.subject, signer)
        return own.context(address=self._address)


class _Endpoint(FakeEndpoint):
    def __init__(self, folder: Path, model: str, **at: Any) -> None:
        self._folder = folder
        super().__init__(model=model, **at)

    @property
    def key(self) -> str:
        stored = next((self._folder / "payloads").glob("*-keys"))
        return json.loads(stored.read_text())["default"]

    @key.setter
    def key(self, _: str | None) -> None:
        """The stack alone decides on the keys."""
