"""An OpenAI-compatible endpoint for tests that behaves, or misbehaves as a test asks."""

from __future__ import annotations

import io
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from scripts.verify.options import Options, parse_endpoint
from scripts.verify.outcome import ExitStatus
from scripts.verify.output import Output
from scripts.verify.receipt import Check, Receipt
from scripts.verify.run import Verdict, verify
from scripts.verify.scrub import Scrubber

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MODELS = "/v1/models"

WORDS = ("one ", "two ", "three ", "four")


@dataclass
class Exchange:
    """One request that came in, and the means to answer it."""

    endpoint: FakeEndpoint
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    handler: BaseHTTPRequestHandler = field(repr=False)
    data: bytes = b""

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Send the status and the headers; `Connection: close` ends the body."""
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name, value)
        if "Content-Length" not in headers:
            self.handler.send_header("Connection", "close")
            self.handler.close_connection = True
        self.handler.end_headers()
        self.handler.wfile.flush()

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def send(self, status: int, data: bytes, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.begin(status, {"Content-Length": str(len(data)), **named})
        self.write(data)

    def json(self, status: int, value: Any, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send(status, data, Content_Type="application/json", **headers)

    def error(self, status: int, message: str, **headers: str) -> None:
        self.json(status, {"error": {"message": message, "code": status}}, **headers)

    def events(self, *events: bytes) -> None:
        """Send a stream of events, each as it is, in a write of its own."""
        self.begin(200, {"Content-Type": "text/event-stream"})
        for event in events:
            self.write(event)

    def hang(self) -> None:
        """Send nothing more until the endpoint closes."""
        self.endpoint.closing.wait(60)
        self.handler.close_connection = True

    def reset(self) -> None:
        """Close the connection at once."""
        self.handler.close_connection = True
        self.handler.connection.shutdown(socket.SHUT_RDWR)


Reply = Callable[[Exchange], None]


class FakeEndpoint:
    """A server on a free port of 127.0.0.1, or where it is told to, for a `with` statement.

    `on` scripts a path; what is not scripted answers as an endpoint should. `exchanges` keeps
    every request.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        model: str = "fake-model",
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.key = key
        self.model = model
        self.exchanges: list[Exchange] = []
        self.closing = threading.Event()
        self._scripts: dict[tuple[str, str], Iterator[Reply]] = {}
        self._lock = threading.Lock()
        self._server = _Server((address, port), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._server.server_address[0]}:{self.port}"

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Answer `method path` with `replies`, one after the other; the last one stays."""
        self._scripts[method, path] = _last_stays(replies)

    def on_chats(self, where: str, reply: Reply) -> None:
        """Answer by `reply` the chats whose request holds the field `where` ("": plain ones)."""
        fields = {"stream", "tools", "response_format"}

        def choose(exchange: Exchange) -> None:
            asked = fields & set(exchange.body)
            authorized = exchange.authorization == f"Bearer {self.key}"
            matches = where in asked if where else not asked
            (reply if authorized and matches else self.behave)(exchange)

        self.on("POST", CHAT, choose)

    def asked(self, method: str, path: str) -> list[Exchange]:
        return [e for e in self.exchanges if (e.method, e.path) == (method, path)]

    def answer(self, exchange: Exchange) -> None:
        with self._lock:
            self.exchanges.append(exchange)
            script = self._scripts.get((exchange.method, exchange.path))
            reply = next(script) if script else self.behave
        reply(exchange)

    def behave(self, exchange: Exchange) -> None:
        """Answer as an endpoint should."""
        if exchange.path == "/health":
            exchange.json(200, {"status": "ok"})
            return
        if self.key is not None and exchange.authorization != f"Bearer {self.key}":
            exchange.error(401, "Invalid API Key")
            return
        match exchange.method, exchange.path:
            case "GET", "/v1/models":
                entry = {"id": self.model, "object": "model", "owned_by": "tests"}
                entry["meta"] = {"n_params": 1234, "size": 5678}
                exchange.json(200, {"object": "list", "data": [entry]})
            case "GET", "/props":
                exchange.json(200, {"build_info": "b1-fake"})
            case "POST", "/v1/chat/completions" if exchange.body.get("stream"):
                exchange.events(*chat_events(self.model))
            case "POST", "/v1/chat/completions":
                exchange.json(200, chat_answer(self.model, exchange.body))
            case "POST", "/v1/embeddings":
                vectors = [[0.1 * (i + 1), -0.5, 2] for i in range(len(exchange.body["input"]))]
                exchange.json(200, embedding_answer(*vectors))
            case _:
                exchange.error(404, "no such path")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away in the middle are part of the tests."""


def _last_stays(replies: tuple[Reply, ...]) -> Iterator[Reply]:
    yield from replies[:-1]
    while True:
        yield replies[-1]


def _handler(endpoint: FakeEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            kind = self.headers.get("Content-Type") or ""
            endpoint.answer(
                Exchange(
                    endpoint=endpoint,
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=None if not data or "octet" in kind else json.loads(data),
                    handler=self,
                    data=data,
                )
            )

        do_GET = do_POST = _any

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def data_event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(
    model: str, delta: dict[str, Any], finish_reason: str | None = None, **more: Any
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": model, "choices": [choice], **more}


def chat_events(model: str, words: tuple[str, ...] = WORDS, field: str = "content") -> list[bytes]:
    """A good stream: role, words, finish reason, usage, `[DONE]`."""
    usage = {"completion_tokens": len(words), "prompt_tokens": 3}
    return [
        data_event(chunk(model, {"role": "assistant", "content": None})),
        *(data_event(chunk(model, {field: word})) for word in words),
        data_event(chunk(model, {}, "stop")),
        data_event(
            {"object": "chat.completion.chunk", "model": model, "choices": []} | {"usage": usage}
        ),
        b"data: [DONE]\n\n",
    ]


def chat_message(model: str, message: dict[str, Any], finish_reason: str = "stop") -> Any:
    choice = {"index": 0, "finish_reason": finish_reason}
    return {
        "object": "chat.completion",
        "model": model,
        "choices": [choice | {"message": {"role": "assistant", **message}}],
        "usage": {"completion_tokens": 7, "prompt_tokens": 3},
        "system_fingerprint": "b1-fingerprint",
    }


def chat_answer(model: str, body: dict[str, Any]) -> Any:
    """The good answer to a chat: a tool call or JSON where the request asks for one."""
    if "tools" in body:
        name = body["tools"][0]["function"]["name"]
        return chat_message(model, tool_call(name, '{"city": "Paris"}'), "tool_calls")
    if "response_format" in body:
        return chat_message(model, {"content": '{"sky": "blue", "sure": true}'})
    return chat_message(model, {"content": "Hello there."})


def tool_call(name: str, arguments: Any) -> Any:
    function = {"name": name, "arguments": arguments}
    return {"content": None, "tool_calls": [{"type": "function", "function": function}]}


def embedding_answer(*vectors: Any) -> Any:
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data}


@dataclass(frozen=True)
class Verified:
    """What a verification gave: the verdict and what it wrote on stderr."""

    verdict: Verdict
    stderr: str

    @property
    def receipt(self) -> Receipt:
        return self.verdict.receipt

    @property
    def failed(self) -> Check:
        check = self.receipt.failed_check
        assert check is not None, self.stderr
        return check

    def failed_at(self, name: str) -> str:
        """Hold it to have failed at `name` and nowhere else; return what was seen."""
        assert self.failed.name == name, self.stderr
        assert self.verdict.exit_status == ExitStatus.FAILED
        assert self.failed.expected
        assert self.failed.next_step
        states = [check.status for check in self.receipt.checks]
        assert set(states[states.index("failed") + 1 :]) <= {"skipped"}
        return self.failed.seen or ""

    def check(self, name: str) -> Check:
        return next(check for check in self.receipt.checks if check.name == name)


def verified(endpoint: FakeEndpoint | str, **options: Any) -> Verified:
    """Verify `endpoint`, with the key that it takes unless `options` say otherwise."""
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    if isinstance(endpoint, FakeEndpoint):
        options.setdefault("key", endpoint.key)
    options = {"wait_seconds": 5.0, "check_seconds": 5.0, **options}
    chosen = Options(endpoint=parse_endpoint(url), **options)
    scrubber = Scrubber([chosen.key] if chosen.key else [])
    stderr = io.StringIO()
    verdict = verify(chosen, scrubber, Output(scrubber, stderr=stderr))
    return Verified(verdict, stderr.getvalue())
