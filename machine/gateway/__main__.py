"""`python -m machine.gateway`: the key checker, on loopback, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from machine.config import Config
from machine.errors import Permanent
from machine.gateway import serving
from machine.gateway.activity import Activity
from machine.gateway.app import application
from machine.gateway.keys import KeyFile
from machine.gateway.settings import LOOPBACK, Limits, Settings, Upstream
from machine.gateway.stages import MachineStages
from machine.paths import Paths
from machine.status import Status

GRACE_SECONDS = 10.0
"""How long requests may run on after SIGTERM."""
HTTPS_PORT = "LLM_ENDPOINT_HTTPS_PORT"
"""The environment variable, Caddy's too, that moves Caddy from port 443."""
_PERMANENT = 78


def from_config(config: Config, front_port: int) -> Settings:
    """Return the part of the machine's settings that the gateway goes by."""
    gateway = config.gateway
    return Settings(
        port=gateway.port,
        upstreams=tuple(
            Upstream(
                name=server.name,
                origin=f"http://{LOOPBACK}:{server.port}",
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


async def serve(settings: Settings, paths: Paths) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `OSError` where the port is taken, or the file of the activity can't be written.
    """
    status = Status(paths.run, paths.console, boot_id=paths.boot_id)
    app = application(
        settings,
        KeyFile(paths.keys),
        Activity(paths.activity),
        MachineStages(status),
        lambda line: print(line, flush=True),
    )
    await serving.serve(app, settings.host, settings.port, GRACE_SECONDS)


def main(arguments: Sequence[str]) -> int:
    """Serve, and return the exit status."""
    parser = argparse.ArgumentParser(prog="machine.gateway", description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the machine's files are"
    )
    paths = Paths(parser.parse_args(arguments).root)
    try:
        settings = from_config(Config.load(paths.config), int(os.environ.get(HTTPS_PORT, "443")))
    except Permanent as error:
        print(error.message, file=sys.stderr)
        return _PERMANENT
    asyncio.run(serve(settings, paths))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
