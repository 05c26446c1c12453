"""Whether the endpoint can answer, asked of the model servers and of Caddy again and again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum

import aiohttp

from machine.gateway import states
from machine.gateway.activity import Activity
from machine.gateway.front import Front, FrontState
from machine.gateway.keys import KeyFile
from machine.gateway.settings import Settings, Upstream
from machine.gateway.stages import Stages
from machine.status import State, Summary

_PROBE_SECONDS = 5.0
_CONNECT_SECONDS = 3.0
_UNREADY_PAUSE_SECONDS = 1.0
_READY_PAUSE_SECONDS = 10.0


class ServerState(StrEnum):
    """What a model server does, as its log line says it."""

    ABSENT = "does not answer yet"
    LOADING = "loads its model"
    READY = "answers"


class Health:
    """Asks the servers and Caddy, tells the gateway's stages, and answers `GET /health`."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyFile,
        stages: Stages,
        activity: Activity,
        session: aiohttp.ClientSession,
    ) -> None:
        self._servers: dict[str, ServerState] = {
            upstream.name: ServerState.ABSENT for upstream in settings.upstreams
        }
        self._upstreams = settings.upstreams
        self._front = Front(settings.front_port)
        self._front_state = FrontState.ABSENT
        self._models: dict[str, str] = {}
        self._keys = keys
        self._stages = stages
        self._activity = activity
        self._session = session
        self._doubted = asyncio.Event()

    async def watch(self) -> None:
        """Check for ever: each second until all is ready, then every ten seconds."""
        while True:
            await self.check()
            pause = _READY_PAUSE_SECONDS if self._is_ready() else _UNREADY_PAUSE_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._doubted.wait()
            self._doubted.clear()

    def doubt(self, upstream: Upstream) -> None:
        """Note that `upstream` did not answer a request: if it was ready, ask it now."""
        if self._servers[upstream.name] is ServerState.READY:
            self._servers[upstream.name] = ServerState.ABSENT
            self._doubted.set()

    async def check(self) -> None:
        """Ask every server and Caddy once, and tell what changed."""
        servers = asyncio.gather(*(self._ask(upstream) for upstream in self._upstreams))
        self._front_state, asked = await asyncio.gather(self._front.ask(), servers)
        for upstream, state in zip(self._upstreams, asked, strict=True):
            self._servers[upstream.name] = state
        await asyncio.to_thread(self._tell)
        if self._is_ready():
            self._activity.is_ready()
        else:
            self._activity.is_not_ready()

    def answer(self) -> tuple[int, Mapping[str, str]]:
        """Return status and body of `GET /health`: Caddy, which passes it on, is not judged.

        `models` has the states that servers tell of their models, without the models' names.
        """
        if self._can_answer():
            told = "; ".join(f"{name} {state}" for name, state in self._models.items() if state)
            return 200, {"status": "ok", **({"models": told} if told else {})}
        why = self.why()
        return 503, {"status": why.status, "stage": why.stage, "message": why.message}

    def why(self) -> Summary:
        """Return the stage that keeps the endpoint from answering."""
        before = self._stages.before()
        if before is not None:
            return before
        if self._keys.problem is not None:
            record = self._stages.read("keys")
            told = record is not None and record.state is not State.DONE
            message = record.message if record is not None and told else self._keys.problem
            return Summary("starting", "keys", message)
        if not self._all_ready():
            return Summary("starting", "server", self._servers_told())
        return Summary("starting", "gateway", self._front_state.value)

    def _is_ready(self) -> bool:
        return self._can_answer() and self._front_state is FrontState.READY

    def _can_answer(self) -> bool:
        return self._all_ready() and self._keys.problem is None

    def _all_ready(self) -> bool:
        return all(state is ServerState.READY for state in self._servers.values())

    def _servers_told(self) -> str:
        return "; ".join(self._told_of(each) for each in self._upstreams)

    def _told_of(self, upstream: Upstream) -> str:
        state = self._servers[upstream.name]
        if not upstream.models or state is not ServerState.LOADING:
            return f"{upstream.name} {state}"
        return f"{upstream.name} loads its models: {self._models.get(upstream.name)}"

    async def _ask(self, upstream: Upstream) -> ServerState:
        try:
            async with self._session.get(
                upstream.origin + upstream.probe_path,
                timeout=aiohttp.ClientTimeout(_PROBE_SECONDS, sock_connect=_CONNECT_SECONDS),
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    loading = answer.status == upstream.loading_status
                    return ServerState.LOADING if loading else ServerState.ABSENT
            told = await self._told_by(upstream)
            # One that tells of no model is believed by its probe.
            self._models[upstream.name] = ", ".join(told)
            all_there = all(state == states.AVAILABLE for state in told)
            return ServerState.READY if all_there else ServerState.LOADING
        except aiohttp.ConnectionTimeoutError:
            # A pod whose node is gone: nobody is there to refuse the connection.
            return ServerState.ABSENT
        except TimeoutError:
            # A server whose one thread is generating does not answer, and is none the worse.
            return self._servers[upstream.name]
        except (aiohttp.ClientError, OSError):
            return ServerState.ABSENT

    async def _told_by(self, upstream: Upstream) -> tuple[str, ...]:
        """Return the states of the server's models, as far as it tells."""
        if upstream.state_path is None:
            return ()
        async with self._session.get(
            upstream.origin + upstream.state_path,
            timeout=aiohttp.ClientTimeout(_PROBE_SECONDS, sock_connect=_CONNECT_SECONDS),
            allow_redirects=False,
        ) as answer:
            content: object = None
            with suppress(ValueError):
                content = json.loads(await answer.read())
        return states.states(content, upstream.models)

    def _tell(self) -> None:
        """Report `server`, `gateway` and `ready` where their last records say otherwise."""
        loaded = self._all_ready()
        self._report("server", State.DONE if loaded else State.RUNNING, self._servers_told())
        if self._front.port is not None:
            answers = self._front_state is FrontState.READY
            self._report(
                "gateway", State.DONE if answers else State.RUNNING, self._front_state.value
            )
        if self._is_ready():
            self._report("ready", State.DONE, "the endpoint answers")
        elif (record := self._stages.read("ready")) is not None and record.state is State.DONE:
            why = self.why()
            self._report("ready", State.RUNNING, f"stage {why.stage}: {why.message}")

    def _report(self, stage: str, state: State, message: str) -> None:
        record = self._stages.read(stage)
        if record is not None:
            # What was given up is told by who noticed, until it is there again.
            given_up = record.state is State.FAILED and state is State.RUNNING
            if given_up or (record.state, record.message) == (state, message):
                return
        with suppress(OSError):
            self._stages.report(stage, state, message)
