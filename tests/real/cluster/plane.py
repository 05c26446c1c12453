"""The control plane: etcd, the API server, the controllers and the scheduler, as processes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import requests
from gateway_caddy import free_port

from cluster.api import Api, ApiError
from cluster.authority import make_authority
from cluster.build import Built, built_control_plane
from cluster.etcd import etcd_program
from cluster.processes import Program

START_SECONDS = 60.0
LOST_NODE_SECONDS = 10
"""How long a node may be silent before its taints say that it is unreachable."""

DEFINITIONS = Path(__file__).parent / "definitions"
_VOLUMES = Path("/tmp/hostpath_pv")
"""Where the controllers' own provisioner makes volumes: it takes no other folder."""


class ControlPlane:
    """A cluster without nodes, from `with` to the block's end: nothing of it is left.

    Admission is the API server's default, as on GKE: Pod Security by a namespace's labels,
    ResourceQuota, LimitRanger, ServiceAccount. Claims of the classes `standard-rwo` (the default)
    and `premium-rwo` get folders of this machine once a pod uses them. There is no cloud: a Service
    of type LoadBalancer gets no address until a test patches its status.
    """

    api: Api
    url: str
    """`https://127.0.0.1:PORT`."""
    authority: str
    """The certificate, PEM, that vouches for `url`."""
    token: str
    """The bearer token of an administrator."""

    def __init__(self, *, token: str | None = None, kubelets: Path | None = None) -> None:
        """Make the plane of an administrator with `token`, one of its own unless it is given.

        What asks kubelets for logs and port-forwards gets to them by a proxy (HTTP CONNECT) at the
        Unix socket `kubelets`.
        """
        self._stack = ExitStack()
        self._kubelets = kubelets
        self.token = secrets.token_hex(16) if token is None else token

    @property
    def folder(self) -> Path:
        """Where everything of the plane is kept, its logs among it."""
        return self._folder

    @property
    def kubeconfig(self) -> Path:
        """A file that holds the token: for `kubectl`, and for nodes."""
        return self._folder / "kubeconfig"

    def __enter__(self) -> ControlPlane:
        built, etcd = built_control_plane(), etcd_program()
        self._built = built
        with ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="control-plane-"))
            self._folder = Path(name)
            (self._folder / "unready").mkdir()
            self._start(stack, built, etcd)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def program(self, stack: ExitStack, name: str, *words: str) -> Program:
        """Start one of Kubernetes' programs in the plane's folder; `stack` stops it."""
        return self._run(stack, name, [str(self._built.program), *words])

    @property
    def unready(self) -> Path:
        """The folder in which hollow nodes look for pods whose probes fail."""
        return self._folder / "unready"

    @contextmanager
    def probes_fail(self, pod: str, namespace: str) -> Generator[None]:
        """Let the readiness probes of `pod`, on a hollow node, fail within the block."""
        mark = self.unready / f"{namespace}.{pod}"
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()

    def wait_for_namespace(self, namespace: str) -> None:
        """Wait until the controllers have given the namespace what its pods need."""
        self.api.wait_for(
            f"the accounts of {namespace}", lambda: self._has_accounts(namespace), START_SECONDS
        )

    def install_definitions(self) -> None:
        """Install the Gateway API of the standard channel, and GKE's policies for it.

        Google does not publish the definitions of its policies: ours have the fields that its
        documentation names, and refuse others.
        """
        for path in sorted([*self._built.gateway_api.iterdir(), *DEFINITIONS.iterdir()]):
            group, _, plural = path.stem.partition("_")
            self.api.apply_definition(f"{plural}.{group}", path.read_text(encoding="utf-8"))

    def _run(self, stack: ExitStack, name: str, command: list[str]) -> Program:
        # The kubelets' sockets, too, are where temporary files are.
        variables = {**os.environ, "TMPDIR": str(self._folder)}
        program = Program(name, command, self._folder / f"{name}.log", variables)
        stack.callback(program.stop)
        return program

    def _start(self, stack: ExitStack, built: Built, etcd: Path) -> None:
        self.authority = make_authority(self._folder)
        store = self._start_etcd(stack, etcd)
        server = self._start_server(stack, store)
        self._write_kubeconfig()
        self.api = Api(self.url, self.token, str(self._folder / "ca.pem"))
        stack.callback(self.api.close)
        server.wait_until("readiness", self.api.alive, START_SECONDS)
        stack.callback(self._remove_volumes)
        controllers = self._start_controllers(stack)
        scheduler = self.program(
            stack,
            "kube-scheduler",
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        self.api.apply_all(storage_classes())
        controllers.wait_until(
            "the accounts of its namespaces", lambda: self._has_accounts("default"), START_SECONDS
        )
        scheduler.check()

    def _start_etcd(self, stack: ExitStack, etcd: Path) -> str:
        clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        program = self._run(
            stack,
            "etcd",
            [
                str(etcd),
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={clients}",
                f"--advertise-client-urls={clients}",
                f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
                "--logger=zap",
                # What it holds is worth nothing after the test.
                "--unsafe-no-fsync",
            ],
        )

        def answers() -> bool:
            with suppress(requests.RequestException):
                return requests.get(f"{clients}/health", timeout=5).ok
            return False

        program.wait_until("health", answers, START_SECONDS)
        return clients

    def _start_server(self, stack: ExitStack, store: str) -> Program:
        port = free_port()
        self.url = f"https://127.0.0.1:{port}"
        tokens = self._folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.token},administrator,administrator,"system:masters"\n')
        accounts = self._folder / "accounts.key"
        return self.program(
            stack,
            "kube-apiserver",
            "kube-apiserver",
            f"--etcd-servers={store}",
            "--etcd-compaction-interval=0",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            # Nobody asks for the server by the Service `kubernetes`.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self._folder / 'server.pem'}",
            f"--tls-private-key-file={self._folder / 'server.key'}",
            f"--cert-dir={self._folder}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-cluster-ip-range=10.0.0.0/20",
            "--allow-privileged=false",
            "--profiling=false",
            *self._way_to_kubelets(),
        )

    def _way_to_kubelets(self) -> list[str]:
        if self._kubelets is None:
            return []
        proxy = {
            "proxyProtocol": "HTTPConnect",
            "transport": {"uds": {"udsName": str(self._kubelets)}},
        }
        configuration = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": proxy}],
        }
        file = self._folder / "egress.json"
        file.write_text(json.dumps(configuration))
        return [f"--egress-selector-config-file={file}"]

    def _start_controllers(self, stack: ExitStack) -> Program:
        return self.program(
            stack,
            "kube-controller-manager",
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--root-ca-file={self._folder / 'ca.pem'}",
            f"--service-account-private-key-file={self._folder / 'accounts.key'}",
            "--enable-hostpath-provisioner",
            "--pvclaimbinder-sync-period=1s",
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--node-monitor-period=1s",
            f"--node-monitor-grace-period={LOST_NODE_SECONDS}s",
        )

    def _write_kubeconfig(self) -> None:
        (self._folder / "kubeconfig").touch(mode=0o600)
        cluster = {
            "server": self.url,
            "certificate-authority": str(self._folder / "ca.pem"),
        }
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "administrator", "user": {"token": self.token}}],
                    "contexts": [
                        {"name": "test", "context": {"cluster": "test", "user": "administrator"}}
                    ],
                    "current-context": "test",
                }
            )
        )

    def _has_accounts(self, namespace: str) -> bool:
        account = self.api.get("v1/ServiceAccount", "default", namespace)
        authority = self.api.get("v1/ConfigMap", "kube-root-ca.crt", namespace)
        return account is not None and authority is not None

    def _remove_volumes(self) -> None:
        """Remove the folders of volumes that a test has left bound."""
        with suppress(ApiError, requests.RequestException):
            for volume in self.api.list("v1/PersistentVolume"):
                folder = Path(volume["spec"].get("hostPath", {}).get("path", "/"))
                if folder.parent == _VOLUMES:
                    shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            _VOLUMES.rmdir()


def storage_classes() -> list[Mapping[str, object]]:
    """Return classes named and bound as GKE's are, with the controllers' own provisioner."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": name,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default},
            },
            "provisioner": "kubernetes.io/host-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
            "allowVolumeExpansion": True,
        }
        for name, default in (("standard-rwo", "true"), ("premium-rwo", "false"))
    ]
