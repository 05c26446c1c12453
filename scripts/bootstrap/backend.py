"""Where the state is kept, and the passphrase that its secrets are encrypted with."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts.backend.place import folder_url, local_folder
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.places import Checkout, home, read_object, write_whole


@dataclass(frozen=True)
class Backend:
    """A Pulumi backend's `url`, and `why` that one. `folder` is None unless it is a folder here."""

    url: str
    why: str
    folder: Path | None

    @property
    def shown(self) -> str:
        """The URL for people: without a user's name, a password or a query; paths as they are."""
        if self.folder is not None:
            return f"file://{self.folder}"
        parts = urlsplit(self.url)
        host = parts.netloc.rsplit("@", 1)[-1]
        return parts._replace(netloc=host, query="").geturl()


def pulumi_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of the person's own Pulumi CLI: `$PULUMI_HOME`, else `~/.pulumi`."""
    named = environment.get("PULUMI_HOME")
    return Path(named) if named else home(environment) / ".pulumi"


def choose(checkout: Checkout, environment: Mapping[str, str]) -> Backend:
    """Return the backend: the person's own, else a folder in the checkout's state.

    Their own is `$PULUMI_BACKEND_URL`, the `backend` in Pulumi.yaml, the login in
    `credentials.json`, or Pulumi Cloud where `$PULUMI_ACCESS_TOKEN` is set. Raises
    `BootstrapError` where Pulumi.yaml has one that can't be read.
    """
    named = environment.get("PULUMI_BACKEND_URL")
    if named:
        return _backend(named, "PULUMI_BACKEND_URL", environment)
    shared = of_project(checkout)
    if shared:
        return _backend(shared, "Pulumi.yaml", environment)
    credentials = Path(
        environment.get("PULUMI_CREDENTIALS_PATH") or pulumi_home(environment)
    ) / "credentials.json"  # fmt: skip
    current = read_object(credentials).get("current")
    if isinstance(current, str) and current:
        return _backend(current, "your pulumi login", environment)
    if environment.get("PULUMI_ACCESS_TOKEN"):
        cloud = environment.get("PULUMI_API") or "https://api.pulumi.com"
        return _backend(cloud, "PULUMI_ACCESS_TOKEN", environment)
    folder = checkout.state / "backend"
    return Backend(folder_url(folder), "the default", folder)


def _backend(url: str, why: str, environment: Mapping[str, str]) -> Backend:
    return Backend(url, why, local_folder(url, environment))


def of_project(checkout: Checkout) -> str | None:
    """Return the URL that Pulumi.yaml has as its `backend`, in YAML's flow or block style.

    The engine reads the file as a whole; here no parser of YAML may be installed yet. Raises
    `BootstrapError` where it is written otherwise.
    """
    file = checkout.root / "Pulumi.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if not re.search(r"^['\"]?backend['\"]?\s*:", text, re.MULTILINE):
        return None
    found = _FLOW.search(text) or _BLOCK.search(text)
    if found is None:
        raise BootstrapError(
            f"the backend in {file} can't be read", "write it as `backend: {url: gs://BUCKET}`"
        )
    return found["url"].strip("'\"")


_VALUE = r"(?P<url>'[^'\n]+'|\"[^\"\n]+\"|[^\s'\"{},][^\s,}]*)"
_FLOW = re.compile(rf"^backend:[ ]*\{{[ ]*url:[ ]*{_VALUE}[ ]*\}}[ ]*(?:#.*)?$", re.MULTILINE)
_BLOCK = re.compile(
    rf"^backend:[ ]*(?:#.*)?\n(?:[ ]*(?:#.*)?\n)*[ ]+url:[ ]*{_VALUE}[ ]*(?:#.*)?$", re.MULTILINE
)


def passphrase_variables(
    checkout: Checkout, stack: str | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that give Pulumi the passphrase, made where there is none yet.

    Empty where the person gives one by `$PULUMI_CONFIG_PASSPHRASE[_FILE]`. Raises
    `BootstrapError` where the configuration of `stack` (of any stack, when None) was encrypted
    with a passphrase that is gone.
    """
    if _has_own_passphrase(environment):
        return {}
    file = checkout.state / "passphrase"
    try:
        if file.read_text(encoding="utf-8").strip():
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
                note(f"{file} could be read by others: closed it to them.")
            checkout.make_state()
            return {"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BootstrapError(
            f"the passphrase in {file} can't be read: {error.strerror}",
            "make it yours and readable (chown, chmod 600)",
        ) from None
    refuse_lost_passphrase(checkout, stack, environment)
    checkout.make_state()
    write_whole(file, secrets.token_urlsafe(32) + "\n", mode=0o600)
    note(f"Made a passphrase for the state's secrets: {file}. Keep it as long as the stacks.")
    return {"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}


def refuse_lost_passphrase(
    checkout: Checkout, stack: str | None, environment: Mapping[str, str]
) -> None:
    """Raise `BootstrapError` where what was encrypted can't be decrypted any more.

    That is where there is no passphrase and the configuration of `stack` (of any stack, when
    None) was encrypted with one.
    """
    passphrase = checkout.state / "passphrase"
    if _has_own_passphrase(environment) or passphrase.exists():
        return
    name = "*" if stack is None else stack.rsplit("/", 1)[-1]
    for config in sorted(checkout.stacks.glob(f"Pulumi.{name}.yaml")):
        if re.search(r"^encryptionsalt:", config.read_text(encoding="utf-8"), re.MULTILINE):
            raise BootstrapError(
                f"{config} is encrypted with a passphrase that is not there any more "
                f"(neither PULUMI_CONFIG_PASSPHRASE[_FILE] nor {passphrase})",
                f"put the passphrase back into {passphrase}; if the stack and its state are gone "
                f"too, remove {config} and begin anew",
            )


def _has_own_passphrase(environment: Mapping[str, str]) -> bool:
    return bool({"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & environment.keys())
