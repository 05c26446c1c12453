"""Which cluster a kubeconfig is for, and the credentials that it leads to.

Of kubeconfig's ways in, a bearer token and an exec credential are taken: a client certificate or a
password is not.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import cast

import yaml

from emulator.plugin.errors import PluginError

_EXEC_SECONDS = 60
_EARLY_SECONDS = 60
"""How long before its end a token counts as ended."""

Entry = Mapping[str, object]


class KubeconfigError(PluginError):
    """The kubeconfig is none, or leads nowhere."""


@dataclass(frozen=True)
class Connection:
    """A cluster's API server and a way to its tokens; `token` runs a program at most once an hour.

    `authority` is PEM; None trusts what the system trusts.
    """

    server: str
    authority: str | None
    token: Callable[[], str | None]


@dataclass
class ExecCredential:
    """A program that prints a token; the token is kept until it ends."""

    command: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    api_version: str
    _token: str = ""
    _ends: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def token(self) -> str:
        """A token that lives. Raises `KubeconfigError`."""
        with self._lock:
            if not self._token or time.time() > self._ends - _EARLY_SECONDS:
                self._renew()
            return self._token

    def _renew(self) -> None:
        asked = {"kind": "ExecCredential", "apiVersion": self.api_version}
        asked["spec"] = {"interactive": False}  # type: ignore[assignment]
        try:
            done = subprocess.run(
                [self.command, *self.arguments],
                env={**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_EXEC_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubeconfigError(f"getting credentials: exec: {error}") from None
        if done.returncode != 0:
            said = done.stderr.strip()[-2000:]
            raise KubeconfigError(
                f"getting credentials: exec: executable {self.command} failed with exit code "
                f"{done.returncode}: {said}"
            )
        try:
            answer = json.loads(done.stdout)
            status = answer["status"]
            self._token = str(status["token"])
        except (ValueError, KeyError, TypeError):
            raise KubeconfigError(
                f"getting credentials: {self.command} printed no ExecCredential with a token"
            ) from None
        if answer.get("apiVersion") != self.api_version:
            raise KubeconfigError(
                f"getting credentials: exec plugin is configured to use API version "
                f"{self.api_version}, plugin returned version {answer.get('apiVersion')}"
            )
        ends = status.get("expirationTimestamp")
        self._ends = (
            datetime.fromisoformat(ends.replace("Z", "+00:00")).timestamp()
            if ends
            else float("inf")
        )


def parse(text: str) -> Entry:
    """A kubeconfig's content, of a file where TEXT is the path of one. Raises `KubeconfigError`."""
    try:
        if len(text) < 4096 and "\n" not in text and Path(text).expanduser().is_file():
            text = Path(text).expanduser().read_text(encoding="utf-8")
        found: object = yaml.safe_load(text)
    except (yaml.YAMLError, OSError, ValueError):
        # What it says may quote the text, which may hold a token.
        raise KubeconfigError("failed to parse kubeconfig data: it is not YAML") from None
    if not isinstance(found, dict):
        raise KubeconfigError("failed to parse kubeconfig data: it is no object")
    return cast("Entry", found)


def active_cluster(config: Entry, context: str | None = None) -> Entry | None:
    """The cluster that the kubeconfig's context is for, as it stands there."""
    chosen = _named(config, "contexts", "context", context or str(config.get("current-context")))
    if chosen is None:
        return None
    return _named(config, "clusters", "cluster", str(chosen.get("cluster")))


def connection(config: Entry, context: str | None = None) -> Connection:
    """What the kubeconfig leads to. Raises `KubeconfigError`."""
    cluster = active_cluster(config, context)
    server = str(cluster.get("server") or "") if cluster else ""
    if not cluster or not server.startswith("https://"):
        raise KubeconfigError(
            "invalid configuration: no https server of the current context is in the kubeconfig"
        )
    chosen = _named(config, "contexts", "context", context or str(config.get("current-context")))
    user = _named(config, "users", "user", str((chosen or {}).get("user"))) or {}
    return Connection(server.rstrip("/"), _authority(cluster), _tokens(user))


def _authority(cluster: Entry) -> str | None:
    data = cluster.get("certificate-authority-data")
    if data:
        return base64.b64decode(str(data)).decode()
    file = cluster.get("certificate-authority")
    return Path(str(file)).read_text(encoding="utf-8") if file else None


def _tokens(user: Entry) -> Callable[[], str | None]:
    token, program = user.get("token"), user.get("exec")
    if token:
        return lambda: str(token)
    if isinstance(program, dict):
        entry = cast("Entry", program)
        variables = cast("Sequence[Entry]", entry.get("env") or ())
        return ExecCredential(
            command=str(entry.get("command")),
            arguments=[str(word) for word in cast("Sequence[object]", entry.get("args") or ())],
            environment={str(one["name"]): str(one["value"]) for one in variables},
            api_version=str(entry.get("apiVersion")),
        ).token
    unknown = sorted(set(user) - {"token", "exec"})
    if unknown:
        raise KubeconfigError(
            f"the kubeconfig's user has {', '.join(unknown)}: this stand-in takes token and exec"
        )
    return lambda: None


def _named(config: Entry, section: str, kind: str, name: str) -> Entry | None:
    entries = config.get(section)
    for entry in cast("Sequence[Entry]", entries) if isinstance(entries, list) else ():
        if entry.get("name") == name:
            return cast("Entry", entry.get(kind) or {})
    return None
