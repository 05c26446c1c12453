"""Where a cluster's API server answers, and whose certificate it shows: nothing of it is secret."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from components.rendering.process import Variable
from components.targets.kubernetes.access import ClusterAccess
from scripts.verify.shape import dig, dig_text, parse_json

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WANTED = (
    'it takes {"server": "https://HOST", "certificate_authority": PEM or null}, the output '
    "`cluster` of a stack: scripts/pulumi stack output cluster --stack STACK"
)


class AccessError(ValueError):
    """The access can't be followed. The message says what would do."""


def parse(text: str) -> ClusterAccess:
    """Return the access in the JSON `text`. Raises `AccessError`."""
    try:
        value = parse_json(text)
    except ValueError:
        raise AccessError(f"a cluster's access is no JSON: {_WANTED}") from None
    server, authority = dig_text(value, "server"), dig(value, "certificate_authority")
    if not _is_safe(server):
        raise AccessError(
            f"the server {server!r} of a cluster is no https:// origin, and the access token "
            f"goes there: {_WANTED}"
        )
    if authority is not None and not isinstance(authority, str):
        raise AccessError(f"a cluster's certificate_authority is no text: {_WANTED}")
    return ClusterAccess(server.rstrip("/"), authority or None)


def from_environment(environment: Mapping[str, str]) -> ClusterAccess:
    """Return the access in `$LLM_ENDPOINT_CLUSTER`. Raises `AccessError`."""
    text = environment.get(Variable.CLUSTER)
    if not text:
        raise AccessError(f"{Variable.CLUSTER} is not set: {_WANTED}")
    return parse(text)


def is_loopback(access: ClusterAccess) -> bool:
    """Whether the API server is on this machine."""
    return urlsplit(access.server).hostname in _LOOPBACK


def _is_safe(server: str) -> bool:
    """Whether a token may go to `server`: encrypted, or to this machine."""
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
