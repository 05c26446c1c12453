"""`python -m machine.gateway.pod --config FILE`: the key checker in a pod of a cluster.

Beside what it serves on a machine it answers two paths for the cluster alone, which Caddy does not
pass on: `/live`, and `/activity`, by which idle servers are parked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from components.models.registry import RegistryError, parse_registry_model
from machine.gateway import serving
from machine.gateway.activity import Activity
from machine.gateway.app import application
from machine.gateway.classic import ClassicModels
from machine.gateway.keys import KeyFile
from machine.gateway.settings import Limits, Settings, Upstream
from machine.pod.told import Told, to_log
from machine.table import Table, WrongError

GRACE_SECONDS = 15.0
"""How long requests may run on after SIGTERM: what a Spot node still has for its pods, less what
its shutdown takes."""
_PERMANENT = 78
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class PodSettings:
    """The settings of a gateway in a pod, and where its files are."""

    gateway: Settings
    keys: Path
    activity: Path


class PodStages(Told):
    """The gateway's own stages: a pod of it waits for no others."""

    def before(self) -> None:
        """Return None: what comes before the servers is told by their own pods."""


def load(path: Path) -> PodSettings:
    """Read the settings. Raises `WrongError`, which names the key that is missing or wrong."""
    try:
        return parse(json.loads(path.read_bytes()))
    except OSError as error:
        raise WrongError(f"it can't be read: {error.strerror}") from None
    except ValueError as error:
        why = str(error) if isinstance(error, WrongError) else "it is not JSON"
        raise WrongError(why) from None


def parse(content: object) -> PodSettings:
    """Return the settings in a value of JSON. Raises `WrongError`."""
    top = Table(content, "")
    top.only("port", "host", "front_port", "keys", "activity", "limits", "upstreams")
    limits = top.table("limits")
    limits.only("active_requests", "body_bytes", "request_seconds")
    upstreams = tuple(_upstream(table) for table in top.tables("upstreams"))
    names = [upstream.name for upstream in upstreams]
    if not names or len(set(names)) < len(names):
        raise top.refuse("upstreams", "a list of one or more servers, each with a name of its own")
    return PodSettings(
        gateway=Settings(
            port=_port(top, "port"),
            upstreams=upstreams,
            limits=Limits(
                active_requests=_count(limits, "active_requests"),
                body_bytes=_count(limits, "body_bytes"),
                request_seconds=_count(limits, "request_seconds"),
            ),
            front_port=top.maybe(lambda key: _port(top, key), "front_port"),
            host=_matching(top, "host", top.text("host") != "", "an address of the pod"),
        ),
        keys=_path(top, "keys"),
        activity=_path(top, "activity"),
    )


def _upstream(table: Table) -> Upstream:
    table.only("name", "origin", "api_path", "probe_path", "loading_status", "state_path", "models")
    models = table.texts("models") if "models" in table.keys() else ()  # noqa: SIM118 - no mapping
    try:
        for model in models:
            parse_registry_model(model)
    except RegistryError as error:
        raise table.refuse("models", f"a list of models of a registry: {error}") from None
    return Upstream(
        name=_matching(table, "name", table.text("name") != "", "a server's name"),
        origin=_matching(
            table, "origin", _is_origin(table.text("origin")), "a URL such as http://host:8000"
        ),
        api_path=_url_path(table, "api_path") if table.text("api_path") or not models else "",
        probe_path=_url_path(table, "probe_path"),
        loading_status=table.number("loading_status"),
        state_path=(
            _url_path(table, "state_path")
            if models
            else table.maybe(lambda key: _url_path(table, key), "state_path")
        ),
        models=models,
    )


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and text.endswith(f"//{parts.netloc}")


def _matching(table: Table, key: str, fits: bool, values: str) -> str:
    if not fits:
        raise table.refuse(key, values)
    return table.text(key)


def _url_path(table: Table, key: str) -> str:
    fits = table.text(key).startswith("/") and not table.text(key).endswith("/")
    return _matching(table, key, fits, "a path such as /v3, without a slash at its end")


def _path(table: Table, key: str) -> Path:
    return Path(_matching(table, key, table.text(key).startswith("/"), "an absolute path"))


def _count(table: Table, key: str) -> int:
    if table.number(key) < 1:
        raise table.refuse(key, "1 or more")
    return table.number(key)


def _port(table: Table, key: str) -> int:
    if not 0 < table.number(key) <= _HIGHEST_PORT:
        raise table.refuse(key, f"a port, 1 to {_HIGHEST_PORT}")
    return table.number(key)


def pod_application(settings: PodSettings) -> web.Application:
    """Return the gateway's application with the paths for the cluster.

    Neither is a use of the endpoint: they want no key, count as no activity, and have no line in
    the log. Raises `OSError` where the file of the activity can't be written.
    """
    keys = KeyFile(settings.keys)
    activity = Activity(settings.activity, wakes=True)
    served = [each for each in settings.gateway.upstreams if each.models]
    classic = ClassicModels(served[0]) if served else None
    app = application(settings.gateway, keys, activity, PodStages(to_log), to_log, classic=classic)

    async def live(_request: web.Request) -> web.Response:
        if keys.problem is None:
            return web.json_response({"status": "ok"})
        body = {"status": "starting", "stage": "keys", "message": keys.problem}
        return web.json_response(body, status=503)

    async def told(_request: web.Request) -> web.Response:
        return web.json_response(activity.told())

    app.router.add_get("/live", live)
    app.router.add_get("/activity", told)
    return app


async def serve(settings: PodSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `OSError` as `pod_application`, or for a taken port."""
    gateway = settings.gateway
    await serving.serve(pod_application(settings), gateway.host, gateway.port, GRACE_SECONDS)


def main(arguments: Sequence[str]) -> int:
    """Serve, and return the exit status."""
    parser = argparse.ArgumentParser(prog="machine.gateway.pod", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="gateway.json")
    path = parser.parse_args(arguments).config
    try:
        settings = load(path)
    except WrongError as error:
        print(
            f"{path}: {error}\nnext: correct the ConfigMap that it is of, which pulumi up writes",
            file=sys.stderr,
        )
        return _PERMANENT
    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
