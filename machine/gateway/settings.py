"""What the gateway needs to know of its machine."""

from __future__ import annotations

from dataclasses import dataclass

from machine.config import Config


@dataclass(frozen=True)
class Upstream:
    """A model server on loopback.

    `api_path` is where its OpenAI API lies. `loading_status` is what its probe answers while the
    model is loaded.
    """

    name: str
    port: int
    api_path: str
    probe_path: str
    loading_status: int

    @property
    def origin(self) -> str:
        """The server's URL up to its port."""
        return f"http://127.0.0.1:{self.port}"


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
    """`port` on loopback is the gateway's own; `upstreams` are one or more.

    `front_port` is where Caddy serves HTTPS; None: nothing is in front.
    """

    port: int
    upstreams: tuple[Upstream, ...]
    limits: Limits
    front_port: int | None = None

    @property
    def chat(self) -> Upstream:
        """The server that answers chats, and whatever has no server of its own."""
        return self._named("chat") or self.upstreams[0]

    @property
    def embeddings(self) -> Upstream:
        """The server that answers embeddings."""
        return self._named("embeddings") or self.chat

    def _named(self, name: str) -> Upstream | None:
        return next((each for each in self.upstreams if each.name == name), None)


def from_config(config: Config, front_port: int) -> Settings:
    """Return the part of the machine's settings that the gateway goes by."""
    gateway = config.gateway
    return Settings(
        port=gateway.port,
        upstreams=tuple(
            Upstream(
                name=server.name,
                port=server.port,
                api_path=server.api_path,
                probe_path=server.probe.path,
                loading_status=server.probe.loading_status,
            )
            for server in config.servers
        ),
        limits=Limits(
            active_requests=gateway.active_requests,
            body_bytes=gateway.body_bytes,
            request_seconds=gateway.request_seconds,
        ),
        front_port=front_port,
    )
