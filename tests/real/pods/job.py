"""The job that parks idle servers, run here as its container runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.rendering.kubernetes import names
from pods.deployed import CRON_JOB, Endpoint, token_of

IDLE = {"ready_since": 1000.0, "last_request": 2000.0, "active": 0, "now": 5000.0}
BUSY = {**IDLE, "active": 1}


@contextmanager
def activity(told: dict[str, Any]) -> Iterator[str]:
    """Serve `told` as the gateway's activity, and yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told).encode()
            self.send_response(200 if self.path == "/activity" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/activity"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run_park(endpoint: Endpoint, folder: Path, told: dict[str, Any]) -> str:
    """Run the job's own program with its code from the cluster, and return what it says."""
    job = endpoint.api.need(CRON_JOB, names.PARK, endpoint.namespace)
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    (code,) = [volume for volume in spec["volumes"] if volume["name"] == "code"]
    content = endpoint.api.need("v1/ConfigMap", code["configMap"]["name"], endpoint.namespace)
    for item in code["configMap"]["items"]:
        file = folder / "lib" / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content["data"][item["key"]])
    account = folder / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(token_of(endpoint, spec["serviceAccountName"]))
    (account / "ca.crt").write_text(endpoint.plane.authority)
    server = urlsplit(endpoint.plane.url)
    assert container["command"] == ["python3", "-m", names.PARK_MODULE]
    script = (
        "import sys, pathlib; from machine.pod import park; "
        "sys.exit(park.main(account=pathlib.Path(sys.argv[1])))"
    )
    with activity(told) as url:
        settings = json.loads(variables["LLM_ENDPOINT_PARK"])
        settings["activity"] = url
        done = subprocess.run(
            # Without installed packages, which its pod has none of.
            [sys.executable, "-S", "-c", script, str(account)],
            cwd=folder,
            env={
                **variables,
                "PYTHONPATH": str(folder / "lib"),
                "LLM_ENDPOINT_PARK": json.dumps(settings),
                "KUBERNETES_SERVICE_HOST": str(server.hostname),
                "KUBERNETES_SERVICE_PORT": str(server.port),
                "PATH": os.environ["PATH"],
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout
