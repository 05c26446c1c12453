"""What a machine asks of Google Cloud as itself: its metadata, a secret, and to be stopped.

Standard library alone, since keys are read before any virtual environment is there. No message has
a token or a secret in it.
"""

from __future__ import annotations

import base64
import binascii
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, cast
from urllib.parse import quote

from machine.errors import StageError

_MOST_BYTES = 1024 * 1024
_MOST_REASON_CHARACTERS = 300


class CloudError(StageError):
    """A request that failed. `status` is the HTTP status, None where there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Google:
    """The cloud's addresses, without a slash at their end. `seconds` bounds each wait for bytes.

    Paths: cloud.google.com/compute/docs/metadata, …/secret-manager/docs/reference/rest and
    …/compute/docs/reference/rest/v1.
    """

    metadata_url: str = "http://metadata.google.internal/computeMetadata/v1"
    secrets_url: str = "https://secretmanager.googleapis.com/v1"
    compute_url: str = "https://compute.googleapis.com/compute/v1"
    seconds: float = 10.0

    def metadata(self, path: str) -> str:
        """Return the entry of the metadata server at `path`, such as `project/project-id`."""
        request = urllib.request.Request(
            f"{self.metadata_url}/{path}", headers={"Metadata-Flavor": "Google"}
        )
        # Never through a proxy: what answers there would hold the machine's identity.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
        body, headers = self._ask(opener, request, "the metadata server")
        if headers.get("Metadata-Flavor") != "Google":
            raise CloudError("what answers as the metadata server is another server")
        return body.decode("utf-8", errors="replace").strip()

    def external_address(self) -> str:
        """Return the machine's external IPv4 address; empty where it has none."""
        place = "instance/network-interfaces/0/access-configs/0/external-ip"
        try:
            return self.metadata(place)
        except CloudError as error:
            if error.status == 404:
                return ""
            raise

    def secret(self, name: str) -> bytes:
        """Return the latest version of the secret called `name` in the machine's own project."""
        project = self.metadata("project/project-id")
        what = f"Secret Manager, asked for the secret {name},"
        place = f"projects/{quote(project)}/secrets/{quote(name)}/versions/latest:access"
        answer = self._as_itself(f"{self.secrets_url}/{place}", what)
        payload = answer.get("payload")
        entries = cast("dict[str, object]", payload) if isinstance(payload, dict) else {}
        try:
            data = base64.b64decode(str(entries["data"]), validate=True)
        except (KeyError, binascii.Error):
            raise CloudError(f"{what} answered without a payload") from None
        stated = entries.get("dataCrc32c")
        if stated is not None and str(stated) != str(crc32c(data)):
            raise CloudError(f"{what} sent damaged data: its checksum does not fit")
        return data

    def resize_group(self, group: str, size: int) -> None:
        """Set the zonal managed instance group `group`, in the machine's zone, to `size`."""
        project = self.metadata("project/project-id")
        zone = self.metadata("instance/zone").rsplit("/", maxsplit=1)[-1]
        place = f"projects/{quote(project)}/zones/{quote(zone)}/instanceGroupManagers"
        self._as_itself(
            f"{self.compute_url}/{place}/{quote(group)}/resize?size={size}",
            f"Compute Engine, asked to resize the group {group},",
            method="POST",
        )

    def _as_itself(self, url: str, what: str, method: str = "GET") -> dict[str, object]:
        """Ask with the token of the machine's service account; returns a JSON object."""
        issued = _object(
            self.metadata("instance/service-accounts/default/token").encode(),
            "the metadata server",
        )
        token = issued.get("access_token")
        if not isinstance(token, str) or not token:
            raise CloudError("the metadata server gave no token for the service account")
        request = urllib.request.Request(
            url,
            method=method,
            data=b"" if method == "POST" else None,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        )
        body, _ = self._ask(urllib.request.build_opener(_NoRedirects()), request, what)
        return _object(body, what)

    def _ask(
        self, opener: urllib.request.OpenerDirector, request: urllib.request.Request, what: str
    ) -> tuple[bytes, HTTPMessage]:
        try:
            with opener.open(request, timeout=self.seconds) as response:
                return response.read(_MOST_BYTES), response.headers
        except urllib.error.HTTPError as error:
            with error:
                reason = _reason(error)
            raise CloudError(f"{what} answered {error.code}{reason}", error.code) from None
        except urllib.error.URLError as error:
            cause = error.reason
            seen = cause.strerror if isinstance(cause, OSError) and cause.strerror else "no answer"
            raise CloudError(f"{what} can't be reached: {seen.lower()}") from None
        except TimeoutError:
            raise CloudError(f"{what} sent nothing for {self.seconds:.0f} s") from None
        except (HTTPException, OSError) as error:
            raise CloudError(f"{what} broke the connection ({type(error).__name__})") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects alone: the token would be sent to wherever they lead."""

    def redirect_request(  # noqa: PLR0917, as in the base class
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow none, so that the redirect itself is the answer."""


def _object(body: bytes, what: str) -> dict[str, object]:
    try:
        content: object = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise CloudError(f"{what} answered with something that is not a JSON object")
    return cast("dict[str, object]", content)


def _reason(error: urllib.error.HTTPError) -> str:
    """Return what a Google API says is wrong, `: …`; empty where it says nothing."""
    try:
        content = cast("dict[str, dict[str, object]]", json.loads(error.read(_MOST_BYTES)))
        message = content["error"]["message"]
    except (ValueError, LookupError, TypeError, OSError, HTTPException):
        return ""
    return f": {message}"[:_MOST_REASON_CHARACTERS] if isinstance(message, str) else ""


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `data`."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF
