"""The checks that a notebook runtime has to pass once it answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from components.rendering.kubernetes.colab.names import ORIGIN
from scripts.runtime import kernel
from scripts.runtime.receipt import Disk
from scripts.verify.bounds import Deadline
from scripts.verify.client import Client
from scripts.verify.options import Endpoint
from scripts.verify.outcome import Failure
from scripts.verify.shape import Json, dig, dig_count, dig_text, parse_json
from scripts.verify.via import Route

VERSION_PATH = "/api"
STATUS_PATH = "/api/status"
TERMINAL_PATH = "/colab/tty"
"""The image's own terminal, a websocket that asks for no token."""
STRANGER = "https://notebooks.example.com"
"""A website that may not talk to the runtime from a browser."""
STRANGERS_HOST = "rebound.example.com"
"""A name that some website may have made point at this machine."""
_TOKEN_IS_SOUGHT = (401, 403)

# Printed as one line of JSON: a product that nobody can know beforehand, and the disks.
_CODE = """\
import json, platform, shutil
def _disk(path):
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return [usage.free, usage.total]
print(json.dumps({{"product": {first} * {second}, "python": platform.python_version(),
                  "disks": {{path: _disk(path) for path in {disks}}}}}))
"""


@dataclass
class Found:
    """What the checks found so far, for the receipt."""

    server: str | None = None
    python: str | None = None
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True)
class Context:
    """One verification under way: `clients` makes one that sends given headers to an endpoint.

    `disks` are folders of which is told how much is free.
    """

    endpoint: Endpoint
    route: Route
    token: str = field(repr=False)
    clients: Callable[[Endpoint, dict[str, str]], Client]
    disks: tuple[str, ...]
    found: Found

    def client(self, *, token: str | None = None, origin: str | None = None) -> Client:
        """Return a client that sends `token`, and the `Origin` that a browser would."""
        return self.clients(self.endpoint, headers_of(token, origin))

    @property
    def host(self) -> str:
        """The name and the port by which people ask."""
        return self.endpoint.url.partition("://")[2]


def headers_of(token: str | None, origin: str | None = None) -> dict[str, str]:
    """Return the headers of a request."""
    named = {} if token is None else {"Authorization": f"token {token}"}
    return named if origin is None else {**named, "Origin": origin}


def tells_its_version(context: Context, deadline: Deadline) -> str:
    """`/api`, which is open, tells the notebook server's version."""
    answer = context.client().ask_json("GET", VERSION_PATH, deadline)
    version = dig_text(answer, "version")
    if not version:
        raise Failure(
            f"a version from {VERSION_PATH}",
            "none",
            "look whether a notebook server answers there, and no other",
        )
    context.found.server = context.client().quote(version)
    return f"notebook server {context.found.server}"


def refuses_without_token(context: Context, deadline: Deadline) -> str:
    """Without a token, and with a wrong one, the runtime's status is refused."""
    seen: list[str] = []
    for how, token in (("without a token", None), ("with a wrong token", secrets.token_hex(24))):
        client = context.client(token=token)
        answer = client.ask("GET", STATUS_PATH, deadline)
        if answer.status not in _TOKEN_IS_SOUGHT:
            raise Failure(
                f"HTTP 401 or 403 to {STATUS_PATH} {how}",
                client.describe(answer),
                "look whether the notebook server got its token (JUPYTER_TOKEN): whoever reaches "
                "it can run commands",
            )
        seen.append(f"{how} {answer.status}")
    return ", ".join(seen)


def accepts_token(context: Context, deadline: Deadline) -> str:
    """With its token the runtime tells how many kernels it has, to Colab's website too."""
    kernels = 0
    for origin in (None, ORIGIN):
        client = context.client(token=context.token, origin=origin)
        answer = client.ask("GET", STATUS_PATH, deadline)
        if answer.status != 200:
            asker = "" if origin is None else f", asked by {origin}"
            raise Failure(
                f"HTTP 200 from {STATUS_PATH} with the token{asker}",
                client.describe(answer),
                "look whether the pod has the newest token, and whether its door lets Colab in",
            )
        kernels = dig_count(_json(answer.body), "kernels") or 0
    return f"{kernels} kernels"


def refuses_strangers(context: Context, deadline: Deadline) -> str:
    """What another website may send from a person's browser is refused, the token or not.

    By its `Origin`, over a websocket too, and by a `Host` that is not this machine's: the image
    has a terminal that asks for neither.
    """
    other = Endpoint(f"http://{STRANGERS_HOST}:{context.host.rpartition(':')[2]}", STRANGERS_HOST)
    asked = {
        f"of the website {STRANGER}": context.client(token=context.token, origin=STRANGER),
        f"to the host {STRANGERS_HOST}": context.clients(other, headers_of(context.token)),
    }
    seen: list[str] = []
    for what, client in asked.items():
        answer = client.ask("GET", STATUS_PATH, deadline)
        if not _is_refusal(answer.status):
            raise _let_in(f"a request {what}", client.describe(answer))
        seen.append(f"a request {what} {answer.status}")
    headers = headers_of(context.token, STRANGER)
    try:
        kernel.open_socket(context.route, context.host, TERMINAL_PATH, headers, deadline).close()
    except kernel.HandshakeError as error:
        if not _is_refusal(error.status):
            raise _let_in(f"a terminal for {STRANGER}", str(error)) from None
        seen.append(f"its terminal {error.status}")
    else:
        raise _let_in(f"a terminal for {STRANGER}", "HTTP 101")
    return ", ".join(seen)


def _is_refusal(status: int) -> bool:
    """Whether it is one for its sender's sake: 401 would only miss the token."""
    return 400 <= status < 500 and status != 401


def _let_in(what: str, seen: str) -> Failure:
    return Failure(
        f"{what} to be refused",
        seen,
        "look whether the Service leads to the pod's door, and not past it: any website that is "
        "open in a browser while the port-forward is could run commands in the runtime",
    )


def runs_code(context: Context, deadline: Deadline) -> str:
    """A kernel starts, computes what is asked, and is ended; it tells what is free on the disks."""
    client = context.client(token=context.token)
    first, second = secrets.randbelow(10**9), secrets.randbelow(10**9)
    code = _CODE.format(first=first, second=second, disks=json.dumps(list(context.disks)))
    with kernel.begun(client, deadline) as name:
        path = f"{kernel.KERNELS_PATH}/{quote(name)}/channels"
        headers = headers_of(context.token, ORIGIN)
        try:
            channels = kernel.open_socket(context.route, context.host, path, headers, deadline)
        except kernel.HandshakeError as error:
            raise Failure(
                "a websocket to a kernel",
                str(error),
                "look whether the pod's door passes websockets of Colab's website",
            ) from None
        try:
            printed = kernel.run(channels, code, deadline)
        finally:
            channels.close()
    # What starts with a kernel may print too.
    told = _json("".join(printed.strip().splitlines()[-1:]).encode())
    if dig(told, "product") != first * second:
        raise Failure(
            "the product of two numbers, printed by a kernel",
            client.quote(printed) or "nothing",
            "look at the runtime's log",
        )
    context.found.python = client.quote(dig_text(told, "python"))
    context.found.disks = tuple(_disk(told, path) for path in context.disks)
    disks = "".join(f", {disk.shown}" for disk in context.found.disks)
    return f"Python {context.found.python}{disks}"


def _disk(told: Json, path: str) -> Disk:
    usage = dig(told, "disks", path)
    return Disk(path, dig_count(usage, 0), dig_count(usage, 1))


def _json(body: bytes) -> Json:
    try:
        return parse_json(body)
    except ValueError:
        return None


CHECKS: tuple[tuple[str, Callable[[Context, Deadline], str]], ...] = (
    ("version", tells_its_version),
    ("refuses_without_token", refuses_without_token),
    ("accepts_token", accepts_token),
    ("refuses_strangers", refuses_strangers),
    ("kernel", runs_code),
)
"""The checks after `pod` (of a runtime in a cluster), `reachable` and `ready`."""
