"""A machine below a temporary folder, on which commands are recorded instead of run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from machine.commands import Command, Result
from machine.config import Config
from machine.google import Google
from machine.paths import Paths
from machine.status import Status
from machine.world import World

SERVERS: list[dict[str, object]] = [
    {
        "name": "chat",
        "model": "owner/repo:file.gguf",
        "engine": "llama-wheel",
        "port": 8081,
        "pull": None,
        "probe": {"path": "/health", "loading_status": 503},
        "api_path": "/v1",
        "context_tokens_total": 16384,
        "slots": 4,
        "kv_type": "f16",
        "gpu_layers": None,
        "gpus": None,
        "snapshot": False,
    }
]

SETTINGS: dict[str, object] = {
    "keys_secret": "llm-endpoint-keys",
    "ca_secret": "llm-endpoint-ca",
    "tls": "own_ca",
    "domain": None,
    "packages": ["python3-venv", "ca-certificates"],
    "optional_packages": [],
    "cache_disk": "llm-endpoint-cache",
    "caddy": {"version": "v2.11.9", "url": "", "sha512": ""},
    "engines": {
        "llama-wheel": {"kind": "environment", "requirements": "llama-wheel", "source": None}
    },
    "servers": SERVERS,
    "gpus": None,
    "gateway": {
        "port": 8080,
        "active_requests": 16,
        "body_bytes": 20971520,
        "request_seconds": 3600,
    },
    "watchdog": {"idle_minutes": 30, "stop": {"kind": "power_off"}},
}

Answer = Result | Callable[[Command], Result]


@dataclass
class FakeRun:
    """Answers commands whose words have a text in them with what was scripted, others with 0."""

    answers: dict[str, Answer] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    def __call__(self, command: Command) -> Result:
        self.commands.append(command)
        line = " ".join(command.words)
        for text, answer in self.answers.items():
            if text in line:
                return answer if isinstance(answer, Result) else answer(command)
        return Result(0)

    def lines(self, text: str = "") -> list[str]:
        """Return the command lines that have `text` in them."""
        every = [" ".join(command.words) for command in self.commands]
        return [line for line in every if text in line]


@dataclass
class Clock:
    """Time that passes only by sleeping and by hand, in seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class FakeMachine:
    """What a test has of its machine."""

    world: World
    run: FakeRun
    clock: Clock
    said: list[str]

    @property
    def paths(self) -> Paths:
        return self.world.paths

    def config(self, **changes: object) -> Config:
        """Write settings with `changes`, and read them."""
        self.paths.config.parent.mkdir(parents=True, exist_ok=True)
        self.paths.config.write_text(json.dumps({**SETTINGS, **changes}))
        return Config.load(self.paths.config)

    def put(self, path: Path, content: str | bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def status(self) -> Status:
        self.put(self.paths.console, "")
        return Status(
            self.paths.run,
            self.paths.console,
            boot_id=self.put(self.paths.boot_id, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n"),
            clock=lambda: 1_795_000_000.0,
            monotonic=self.clock,
        )

    def at(self, google: Google) -> World:
        return replace(self.world, google=google)


def fake_machine(root: Path) -> FakeMachine:
    run, clock, said = FakeRun(), Clock(), list[str]()
    nowhere = Google("http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9", 1.0)
    world = World(
        Paths(root), run, nowhere, said.append, clock.sleep, clock, "x86_64", 4, lambda: None
    )
    machine = FakeMachine(world, run, clock, said)
    machine.put(world.paths.memory, "MemTotal:       16000000 kB\nMemFree:          100 kB\n")
    machine.put(root / "proc/cpuinfo", "processor : 0\nflags : fpu avx2\n")
    return machine
