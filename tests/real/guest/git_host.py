"""A Git host with one repository, as Git's own server side answers for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from guest.internet import Answer, Request, Site

_SECONDS = 120


def git_host(repository: Path, name: str, folder: Path) -> Site:
    """Return a site that has `repository` as `/name`; `folder` is for what it needs.

    By git-http-backend, which speaks CGI (its manual page).
    """
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", repository, place], check=True)
    programs = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True)
    backend = Path(programs.stdout.strip()) / "git-http-backend"

    def answer(request: Request) -> Answer:
        parts = urlsplit(request.raw_path)
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        }
        done = subprocess.run(
            [backend],
            input=request.body,
            env=variables,
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        headers = dict(lines)
        status = int(headers.pop("Status", "200").split()[0])
        return Answer(status, body, headers)

    return answer
