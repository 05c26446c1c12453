"""What the gateway needs to know of what it stands before."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Upstream:
    """A model server, or several of the same model behind one address.

    `origin` is its URL up to the port. `api_path` is where its OpenAI API lies. `loading_status` is
    what its probe answers while the model is loaded. `state_path` is where it tells its models'
    states (`machine.gateway.states`); None where nowhere. `models` are the classic ones that it has
    to serve, as `NAME@VERSION`; where there are any, it serves no others.
    """

    name: str
    origin: str
    api_path: str
    probe_path: str
    loading_status: int
    state_path: str | None = None
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    `active_requests` are answered at the same time; `request_seconds` bounds one from its first
    byte to its last, and `upload_seconds` the arrival of its body.
    """

    active_requests: int
    body_bytes: int
    request_seconds: float
    upload_seconds: float = 300.0


@dataclass(frozen=True)
class Settings:
    """`port` of `host` is the gateway's own; `upstreams` are one or more.

    `front_port` is where Caddy serves HTTPS on this machine or in this pod; None: nothing is in
    front.
    """

    port: int
    upstreams: tuple[Upstream, ...]
    limits: Limits
    front_port: int | None = None
    host: str = LOOPBACK

    @property
    def chat(self) -> Upstream:
        """The server that answers chats, and whatever has no server of its own."""
        return self._named("chat") or self.upstreams[0]

    @property
    def embeddings(self) -> Upstream:
        """The server that answers embeddings."""
        return self._named("embeddings") or self.chat

    @property
    def listed(self) -> tuple[Upstream, ...]:
        """The servers whose models OpenAI's API lists."""
        return tuple(each for each in self.upstreams if not each.models)

    def _named(self, name: str) -> Upstream | None:
        return next((each for each in self.upstreams if each.name == name), None)
