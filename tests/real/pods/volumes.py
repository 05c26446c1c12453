"""A pod's volumes as folders of this machine, kept as the API server has them."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.api import Api, Object

_MODE = 0o644
_DATA = "..data"


@dataclass(frozen=True)
class File:
    """What one file of a volume is to hold."""

    content: bytes
    mode: int


class Volumes:
    """The volumes of `pod` below `folder`; `group` is the pod's, which may read what is its own."""

    def __init__(self, api: Api, pod: Object, folder: Path, group: int) -> None:
        self._api = api
        self._pod = pod
        self._folder = folder
        self._group = group
        self._written: dict[str, dict[str, File]] = {}
        self._tokens: dict[str, str] = {}
        self._number = 0

    @property
    def _namespace(self) -> str:
        return self._pod["metadata"]["namespace"]

    def make(self) -> dict[str, Path]:
        """Return the folder of each volume by its name, with what belongs into it."""
        return {one["name"]: self._made(one) for one in self._pod["spec"].get("volumes", ())}

    def refresh(self) -> None:
        """Write what has changed in the cluster, each volume at once, as the kubelet does."""
        for volume in self._pod["spec"].get("volumes", ()):
            if volume["name"] in self._written:
                self._write(volume)

    def _made(self, volume: Object) -> Path:
        if "persistentVolumeClaim" in volume:
            return self._claimed(volume["persistentVolumeClaim"]["claimName"])
        place = self._folder / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            self._share(place)
        else:
            self._write(volume)
        return place

    def _claimed(self, claim: str) -> Path:
        found = self._api.need("v1/PersistentVolumeClaim", claim, self._namespace)
        volume = self._api.need("v1/PersistentVolume", found["spec"]["volumeName"])
        place = Path(volume["spec"]["hostPath"]["path"])
        self._share(place)
        return place

    def _share(self, place: Path) -> None:
        os.chown(place, 0, self._group)
        place.chmod(0o2770)

    def _write(self, volume: Object) -> None:
        """Write a volume's files to a fresh folder, and lead all their names there at once."""
        name, place = volume["name"], self._folder / volume["name"]
        files = dict(self._files(volume))
        if self._written.get(name) == files:
            return
        self._number += 1
        fresh = place / f"..{self._number}"
        for path, file in files.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o600)
            target.write_bytes(file.content)
            os.chown(target, 0, self._group)
            target.chmod(file.mode)
        link = place / f"{_DATA}.new"
        link.symlink_to(fresh.name)
        link.replace(place / _DATA)
        for top in {Path(path).parts[0] for path in files}:
            if not (place / top).is_symlink():
                (place / top).symlink_to(f"{_DATA}/{top}")
        for old in place.glob("..[0-9]*"):
            if old != fresh:
                shutil.rmtree(old)
        self._written[name] = files

    def _files(self, volume: Object) -> Iterator[tuple[str, File]]:
        if "projected" in volume:
            mode = volume["projected"].get("defaultMode", _MODE)
            for source in volume["projected"]["sources"]:
                yield from self._source(source, mode)
        else:
            kind = next(kind for kind in ("configMap", "secret") if kind in volume)
            yield from self._source(volume, volume[kind].get("defaultMode", _MODE))

    def _source(self, source: Object, mode: int) -> Iterator[tuple[str, File]]:
        if "serviceAccountToken" in source:
            yield source["serviceAccountToken"]["path"], File(self._token().encode(), 0o600 | 0o40)
            return
        if "downwardAPI" in source:
            yield "namespace", File(self._namespace.encode(), mode)
            return
        kind = "configMap" if "configMap" in source else "secret"
        wanted: dict[str, Any] = source[kind]
        name = wanted.get("name") or wanted["secretName"]
        word = "v1/ConfigMap" if kind == "configMap" else "v1/Secret"
        data = self._api.need(word, name, self._namespace).get("data", {})
        chosen = wanted.get("items") or [{"key": key, "path": key} for key in data]
        for item in chosen:
            text = data[item["key"]]
            content = text.encode() if kind == "configMap" else base64.b64decode(text)
            yield item["path"], File(content, item.get("mode", mode))

    def _token(self) -> str:
        account = self._pod["spec"]["serviceAccountName"]
        if account not in self._tokens:
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            kind = "v1/ServiceAccount"
            made = self._api.create(kind, self._namespace, account, "token", body)
            self._tokens[account] = made["status"]["token"]
        return self._tokens[account]
