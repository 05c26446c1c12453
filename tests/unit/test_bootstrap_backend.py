"""Which backend is used, and the passphrase of its secrets."""

import json
import stat
from pathlib import Path

import pytest

from scripts.bootstrap import backend as backends
from scripts.bootstrap.backend import passphrase_variables
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout, cache_root


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "ä b#c?d%20e"
    (root / "stacks").mkdir(parents=True)
    return Checkout(root)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home")}


def log_in(pulumi_home: Path, url: str) -> None:
    pulumi_home.mkdir(parents=True)
    (pulumi_home / "credentials.json").write_text(json.dumps({"current": url}), encoding="utf-8")


def test_by_default_it_is_a_folder_in_the_checkout(checkout: Checkout, environment: dict[str, str]):
    chosen = backends.choose(checkout, environment)
    assert chosen.folder == checkout.state / "backend"
    assert chosen.url.endswith("/%C3%A4%20b%23c%3Fd%2520e/.state/backend")
    assert chosen.shown == f"file://{checkout.state / 'backend'}"


def test_an_existing_login_wins_over_the_default(checkout: Checkout, environment: dict[str, str]):
    log_in(Path(environment["HOME"]) / ".pulumi", "https://api.pulumi.com")
    chosen = backends.choose(checkout, environment)
    assert (chosen.url, chosen.why) == ("https://api.pulumi.com", "your pulumi login")
    assert chosen.folder is None


def test_the_login_is_looked_for_in_the_person_s_own_pulumi_home(
    checkout: Checkout, environment: dict[str, str], tmp_path: Path
):
    log_in(Path(environment["HOME"]) / ".pulumi", "https://api.pulumi.com")
    log_in(tmp_path / "other", "file://~")
    chosen = backends.choose(checkout, {**environment, "PULUMI_HOME": str(tmp_path / "other")})
    assert chosen.folder == tmp_path / "home"


def test_pulumi_backend_url_wins_over_a_login(checkout: Checkout, environment: dict[str, str]):
    log_in(Path(environment["HOME"]) / ".pulumi", "https://api.pulumi.com")
    named = {**environment, "PULUMI_BACKEND_URL": "s3://user:secret@bucket/path?region=x"}
    chosen = backends.choose(checkout, named)
    assert chosen.url == named["PULUMI_BACKEND_URL"]
    assert chosen.shown == "s3://bucket/path"


def test_an_access_token_means_pulumi_cloud(checkout: Checkout, environment: dict[str, str]):
    chosen = backends.choose(checkout, {**environment, "PULUMI_ACCESS_TOKEN": "pul-x"})
    assert (chosen.url, chosen.why) == ("https://api.pulumi.com", "PULUMI_ACCESS_TOKEN")


@pytest.mark.parametrize(
    "backend",
    [
        "backend: {url: s3://state?region=r&endpoint=http://h:1}",
        "backend: { url: 's3://state?region=r&endpoint=http://h:1' }  # the team's",
        'backend:\n  url: "s3://state?region=r&endpoint=http://h:1"',
        "backend:  # the team's\n\n  # since June\n    url: s3://state?region=r&endpoint=http://h:1",
    ],
)
def test_the_project_s_own_backend_wins_over_a_login(
    checkout: Checkout, environment: dict[str, str], backend: str
):
    log_in(Path(environment["HOME"]) / ".pulumi", "https://api.pulumi.com")
    project = f"name: llm-endpoint\n{backend}\noptions:\n  refresh: always\n"
    (checkout.root / "Pulumi.yaml").write_text(project, encoding="utf-8")
    chosen = backends.choose(checkout, environment)
    assert (chosen.url, chosen.why) == ("s3://state?region=r&endpoint=http://h:1", "Pulumi.yaml")
    named = {**environment, "PULUMI_BACKEND_URL": "gs://mine"}
    assert backends.choose(checkout, named).url == "gs://mine"


@pytest.mark.parametrize(
    "backend",
    ["backend: gs://state", "backend:\noptions:\n  url: x", "'backend' : {url: gs://state}"],
)
def test_a_backend_of_the_project_that_can_not_be_read_is_refused(
    checkout: Checkout, environment: dict[str, str], backend: str
):
    (checkout.root / "Pulumi.yaml").write_text(f"{backend}\n", encoding="utf-8")
    with pytest.raises(BootstrapError, match=r"the backend in .*Pulumi\.yaml can't be read"):
        backends.choose(checkout, environment)


def test_a_project_without_a_backend_leaves_the_choice(
    checkout: Checkout, environment: dict[str, str]
):
    project = "name: llm-endpoint\n# backend: {url: gs://state}\n"
    (checkout.root / "Pulumi.yaml").write_text(project, encoding="utf-8")
    assert backends.choose(checkout, environment).why == "the default"


@pytest.mark.parametrize("content", ['{"current": ""}', "{}", "no json", "[]"])
def test_credentials_without_a_login_are_none(
    checkout: Checkout, environment: dict[str, str], content: str
):
    home = Path(environment["HOME"]) / ".pulumi"
    home.mkdir()
    (home / "credentials.json").write_text(content, encoding="utf-8")
    assert backends.choose(checkout, environment).why == "the default"


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///a/b", "/a/b"),
        ("file:///a%20b/%C3%A4?no_tmp_dir=true", "/a b/ä"),
        ("file:///a b", "/a b"),
        ("file://./relative", None),
        ("https://api.pulumi.com", None),
        ("gs://bucket", None),
    ],
)
def test_a_backend_in_a_folder_is_read_as_one(
    checkout: Checkout, environment: dict[str, str], url: str, folder: str | None
):
    chosen = backends.choose(checkout, {**environment, "PULUMI_BACKEND_URL": url})
    assert chosen.folder == (Path(folder) if folder else None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_passphrase_is_made_once_for_its_owner_alone(checkout: Checkout):
    variables = passphrase_variables(checkout, "local", {})
    file = Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"])
    first = file.read_text(encoding="utf-8")
    assert len(first.strip()) >= 32
    assert (mode(file), mode(checkout.state)) == (0o600, 0o700)
    assert passphrase_variables(checkout, "local", {}) == variables
    assert file.read_text(encoding="utf-8") == first


def test_a_passphrase_is_never_said(checkout: Checkout, capsys: pytest.CaptureFixture[str]):
    variables = passphrase_variables(checkout, "local", {})
    passphrase = Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text(encoding="utf-8")
    printed = capsys.readouterr()
    assert passphrase.strip() not in printed.out + printed.err


def test_permissions_that_drifted_are_repaired(checkout: Checkout):
    file = Path(passphrase_variables(checkout, "local", {})["PULUMI_CONFIG_PASSPHRASE_FILE"])
    file.chmod(0o644)
    checkout.state.chmod(0o755)
    passphrase_variables(checkout, "local", {})
    assert (mode(file), mode(checkout.state)) == (0o600, 0o700)


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_a_person_s_own_passphrase_is_used(checkout: Checkout, name: str):
    assert passphrase_variables(checkout, "local", {name: ""}) == {}
    assert not checkout.state.exists()


def encrypt(checkout: Checkout, stack: str) -> None:
    text = "encryptionsalt: v1:abc=:v1:def\nconfig:\n  llm-endpoint:model: x\n"
    (checkout.stacks / f"Pulumi.{stack}.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("stack", ["local", "me/llm-endpoint/local", None])
def test_a_passphrase_that_is_gone_is_not_made_anew(checkout: Checkout, stack: str | None):
    encrypt(checkout, "local")
    with pytest.raises(BootstrapError, match=r"Pulumi\.local\.yaml is encrypted") as refused:
        passphrase_variables(checkout, stack, {})
    assert str(checkout.state / "passphrase") in refused.value.next_step
    assert not (checkout.state / "passphrase").exists()


def test_another_stack_s_encryption_is_no_hindrance(checkout: Checkout):
    encrypt(checkout, "other")
    assert passphrase_variables(checkout, "local", {})


def test_an_empty_passphrase_file_is_none(checkout: Checkout):
    checkout.make_state()
    (checkout.state / "passphrase").write_text("\n", encoding="utf-8")
    passphrase_variables(checkout, "local", {})
    assert (checkout.state / "passphrase").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"HOME": "/h"}, "/h/.cache/llm-endpoint"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/llm-endpoint"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "LLM_ENDPOINT_CACHE": "/own"}, "/own"),
        ({"HOME": "/h", "LLM_ENDPOINT_CACHE": "", "XDG_CACHE_HOME": ""}, "/h/.cache/llm-endpoint"),
    ],
)
def test_the_cache_lies_where_the_person_wants_it(given: dict[str, str], expected: str):
    assert cache_root(given) == Path(expected)
