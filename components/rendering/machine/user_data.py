"""A machine's user-data: cloud-config, which cloud-init carries out at the first boot."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterable, Sequence

import yaml

from components.rendering.machine.archive import archive
from components.rendering.machine.places import ARCHIVE, BASE
from components.rendering.machine.rendered import MachineFile
from components.rendering.readable_yaml import ReadableDumper

_HEADER = "#cloud-config\n"
_BASE64_COLUMNS = 76


class _Words(tuple[str, ...]):
    """A command line, written on one line."""


class _Dumper(ReadableDumper):
    """Writes command lines on one line."""


def _words(dumper: yaml.SafeDumper, words: _Words) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", words, flow_style=True)


_Dumper.add_representer(_Words, _words)


def user_data(files: Sequence[MachineFile], packages: Iterable[str]) -> str:
    """Return the cloud-config that installs `packages`, places `files` and starts the endpoint.

    Files below `BASE` travel in an archive, the others as plain text.
    """
    content: dict[str, object] = {
        "package_update": True,
        "packages": list(packages),
        "users": [_GATEWAY_USER],
        "write_files": [
            *(_plain(file) for file in files if not _is_packed(file)),
            _packed([file for file in files if _is_packed(file)]),
        ],
        "runcmd": [
            _Words(("systemctl", "daemon-reload")),
            _Words(("systemctl", "start", "--no-block", "llm-endpoint.target")),
        ],
    }
    text = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
    return f"{_HEADER}{text}"


# The distribution's own user, who may become root, is not made: people come by OS Login.
_GATEWAY_USER = {
    "name": "llm-gateway",
    "gecos": "Gateway of the LLM endpoint",
    "system": True,
    "shell": "/usr/sbin/nologin",
    "lock_passwd": True,
    "no_create_home": True,
}


def _is_packed(file: MachineFile) -> bool:
    return file.path.startswith(f"{BASE}/")


def _plain(file: MachineFile) -> dict[str, str]:
    return {"path": file.path, "permissions": file.mode, "content": file.content}


def _packed(files: Sequence[MachineFile]) -> dict[str, str]:
    encoded = base64.b64encode(archive(files)).decode("ascii")
    lines = textwrap.wrap(encoded, _BASE64_COLUMNS)
    return {
        "path": ARCHIVE,
        "permissions": "0644",
        "encoding": "b64",
        "content": "".join(f"{line}\n" for line in lines),
    }
