"""scripts/state: where a stack's state lies, and how it gets elsewhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from backend_files import HISTORY, LOCKS, side, state_of, update
from prepared_stack import Noted, prepared, printing

from scripts.backend import asking, held
from scripts.backend.__main__ import do
from scripts.backend.place import folder_url, parse
from scripts.bootstrap import state
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout

SALTED = "encryptionsalt: v1:salt\nconfig:\n  llm-endpoint:hf_token:\n    secure: v1:x\n"
KEY = "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(checkout: Checkout, environment: dict[str, str], *words: Any) -> object:
        texts = [str(getattr(word, "url", word)) for word in words]
        return do(texts, environment)

    monkeypatch.setattr(asking, "ask", ask)


def stack_in(tmp_path: Path, answers: dict[str, str] | None = None) -> Noted:
    """Return a checkout that has the stack `dev` in the folder `source`."""
    folder = tmp_path / "source"
    update(side(folder), "dev", 1)
    noted = prepared(tmp_path, Backend(folder_url(folder), "the default", folder), answers)
    (noted.ready.checkout.stacks / "Pulumi.dev.yaml").write_text(SALTED, encoding="utf-8")
    return noted


def move(noted: Noted, target: Path, provider: str | None = None) -> int:
    return state.move(noted.ready, "dev", parse(folder_url(target), {}), provider)


def step(folder: Path) -> list[str]:
    return [lock.move.step for lock in held.locks(side(folder).objects, "dev") if lock.move]


def test_a_state_moves_and_is_read_there_before_the_old_one_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    noted, target = stack_in(tmp_path), tmp_path / "target"
    assert move(noted, target) == 0
    assert state_of(side(target)) == state_of(side(tmp_path / "source"))
    assert step(tmp_path / "source") == ["moved"]
    url = folder_url(target)
    assert [asked.split(" --stack")[0] for asked in noted.asked()] == [
        f"{folder_url(tmp_path / 'source')} stack export --show-secrets",
        f"{url} stack export --show-secrets",
        f"{url} config --show-secrets --json",
    ]
    assert f"backend: {{url: '{url}'}}" in capsys.readouterr().out


def test_what_the_engine_decrypts_is_printed_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    noted = stack_in(tmp_path, {"*--show-secrets*": "echo hush-hush"})
    move(noted, tmp_path / "target")
    printed = capfd.readouterr()
    assert "hush-hush" not in printed.out + printed.err


def test_a_target_that_pulumi_can_not_read_leaves_the_source_unmarked(tmp_path: Path):
    noted = stack_in(tmp_path, {"*--show-secrets*": "echo 'error: wrong key' >&2; exit 1"})
    with pytest.raises(BootstrapError, match="wrong key") as refused:
        move(noted, tmp_path / "target")
    assert "scripts/pulumi cancel --stack dev" in refused.value.next_step
    assert step(tmp_path / "source") == ["copied"]


def in_plain(*plaintexts: str) -> dict[str, str]:
    """Return how the engine answers a state whose secrets it decrypts to these."""
    mark = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    return {"*--show-secrets*": printing([{**mark, "plaintext": one} for one in plaintexts])}


def test_a_state_that_another_passphrase_encrypted_stays_where_it_is(tmp_path: Path):
    noted = stack_in(tmp_path, in_plain("null", "null"))
    with pytest.raises(BootstrapError, match="encrypted with another passphrase"):
        move(noted, tmp_path / "target", KEY)
    assert len(noted.asked()) == 1
    assert (step(tmp_path / "source"), (tmp_path / "target").exists()) == ([], False)


@pytest.mark.parametrize("plaintexts", [(), ("null", '"a-\\"key"')])
def test_a_state_with_secrets_that_are_null_is_readable(tmp_path: Path, plaintexts: tuple[str]):
    noted = stack_in(tmp_path, in_plain(*plaintexts))
    assert move(noted, tmp_path / "target") == 0


def test_a_state_that_the_project_s_new_backend_left_behind_is_moved_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    target = tmp_path / "target"
    noted = prepared(tmp_path, Backend(folder_url(target), "Pulumi.yaml", target))
    with pytest.raises(BootstrapError, match="has no stack dev, nor has"):
        move(noted, target)
    checkout = noted.ready.checkout
    own = checkout.state / "backend"
    update(side(own), "dev", 1)
    (checkout.stacks / "Pulumi.dev.yaml").write_text(SALTED, encoding="utf-8")
    project = f"backend: {{url: '{folder_url(target)}'}}\n"
    (checkout.root / "Pulumi.yaml").write_text(project, encoding="utf-8")
    assert move(noted, target) == 0
    assert state_of(side(target)) == state_of(side(own))
    assert step(own) == ["moved"]
    assert "have Pulumi.yaml say" not in capsys.readouterr().out
    assert move(noted, target) == 0
    assert "already" in capsys.readouterr().out


def test_a_state_that_lies_there_already_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    noted = stack_in(tmp_path)
    assert move(noted, tmp_path / "source") == 0
    assert "already" in capsys.readouterr().out
    assert noted.asked() == []


def test_secrets_are_encrypted_anew_at_the_target(tmp_path: Path):
    noted, target = stack_in(tmp_path), tmp_path / "target"
    move(noted, target, KEY)
    assert noted.asked()[1].startswith(
        f"{folder_url(target)} stack change-secrets-provider {KEY} --stack dev"
    )
    assert list((noted.ready.checkout.state).glob("*.before-move")) == []


def test_a_key_that_can_not_be_used_leaves_the_stack_s_file_as_it_was(tmp_path: Path):
    file = tmp_path / "checkout" / "stacks" / "Pulumi.dev.yaml"
    spoil = f"echo 'secretsprovider: {KEY}' >'{file}'; echo 'error: denied' >&2; exit 1"
    noted = stack_in(tmp_path, {"*change-secrets-provider*": spoil})
    with pytest.raises(BootstrapError, match="denied"):
        move(noted, tmp_path / "target", KEY)
    assert file.read_text(encoding="utf-8") == SALTED
    assert step(tmp_path / "source") == ["copied"]


def test_a_change_of_key_that_was_killed_begins_from_the_file_as_it_was(tmp_path: Path):
    noted = stack_in(tmp_path)
    checkout = noted.ready.checkout
    file = checkout.stacks / "Pulumi.dev.yaml"
    shutil.copy2(file, checkout.make_state() / "Pulumi.dev.yaml.before-move")
    file.write_text(f"secretsprovider: {KEY}\nencryptedkey: x\n", encoding="utf-8")
    move(noted, tmp_path / "target", KEY)
    assert "change-secrets-provider" in noted.asked()[1]
    assert file.read_text(encoding="utf-8") == SALTED, "this pulumi writes nothing"


def test_a_file_that_was_changed_since_its_change_of_key_was_killed_is_kept(
    tmp_path: Path,
):
    noted = stack_in(tmp_path)
    checkout = noted.ready.checkout
    file = checkout.stacks / "Pulumi.dev.yaml"
    kept = checkout.make_state() / "Pulumi.dev.yaml.before-move"
    shutil.copy2(file, kept)
    changed = f"{SALTED}  llm-endpoint:slots: 3\n"
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(BootstrapError, match="has changed since") as refused:
        move(noted, tmp_path / "target", KEY)
    assert str(kept) in refused.value.next_step
    assert (file.read_text(), kept.read_text()) == (changed, SALTED)


def test_a_move_that_goes_on_encrypts_with_the_key_that_it_was_begun_with(tmp_path: Path):
    denied = {"*change-secrets-provider*": "echo 'error: denied' >&2; exit 1"}
    noted, target = stack_in(tmp_path, denied), tmp_path / "target"
    with pytest.raises(BootstrapError, match="denied") as refused:
        move(noted, target, KEY)
    command = f"scripts/state move dev '{folder_url(target)}'"
    assert command in refused.value.next_step
    allowed = prepared(tmp_path / "2", noted.ready.backend)
    shutil.copytree(noted.ready.checkout.stacks, allowed.ready.checkout.stacks, dirs_exist_ok=True)
    assert move(allowed, target) == 0
    assert f"change-secrets-provider {KEY} --stack dev" in allowed.asked()[1]
    assert step(tmp_path / "source") == ["moved"]


def test_secrets_that_have_the_key_already_are_left_alone(tmp_path: Path):
    noted = stack_in(tmp_path)
    file = noted.ready.checkout.stacks / "Pulumi.dev.yaml"
    file.write_text(f"secretsprovider: {KEY}\nencryptedkey: x\n", encoding="utf-8")
    move(noted, tmp_path / "target", KEY)
    assert not any("change-secrets-provider" in asked for asked in noted.asked())


def test_who_moves_a_passphrase_to_a_bucket_is_told_who_needs_it(tmp_path: Path):
    noted = stack_in(tmp_path)
    source, bucket = parse("file:///s", {}), parse("gs://state", {})
    lines = "\n".join(state.closing(noted.ready, "dev", source, bucket, None))
    assert "whoever goes on with it elsewhere needs that too" in lines
    assert "!/stacks/Pulumi.dev.yaml" in lines


def test_a_state_of_pulumi_cloud_is_refused_with_where_to_read_on(tmp_path: Path):
    noted = prepared(tmp_path, Backend("https://api.pulumi.com", "your pulumi login", None))
    with pytest.raises(BootstrapError) as refused:
        move(noted, tmp_path / "target")
    assert "docs/state.md" in refused.value.next_step


def test_what_goes_to_a_service_leaves_its_history_in_a_folder(tmp_path: Path):
    empty = printing({"version": 3, "deployment": {"resources": []}})
    noted = stack_in(tmp_path, {"stack\\ export\\ --stack*": empty})
    assert state.move(noted.ready, "dev", parse("https://api.pulumi.com", {}), None) == 0
    archive = noted.ready.checkout.state / "archive"
    assert state_of(side(archive)) == state_of(side(tmp_path / "source"))
    imported = [asked for asked in noted.asked() if " stack import " in asked]
    assert [asked.split(" ")[0] for asked in imported] == ["https://api.pulumi.com"]
    assert list(noted.ready.checkout.state.glob("*.export")) == []


def outputs(home: object, provider: object = KEY) -> dict[str, str]:
    return {
        "stack\\ output*": printing({"state_backend": home, "secrets_provider": provider}),
    }


def test_a_ci_stack_s_state_is_taken_into_its_bucket(tmp_path: Path):
    target = tmp_path / "bucket"
    noted = stack_in(tmp_path, outputs(folder_url(target)))
    assert state.take_home(noted.ready, "dev") == 0
    assert side(target).objects.names(f"{HISTORY}/dev/")
    assert any(f"change-secrets-provider {KEY}" in asked for asked in noted.asked())
    assert step(tmp_path / "source") == ["moved"]


def test_a_ci_stack_s_state_that_is_at_home_stays(tmp_path: Path):
    noted = stack_in(tmp_path, outputs(folder_url(tmp_path / "source")))
    assert state.take_home(noted.ready, "dev") == 0
    assert len(noted.asked()) == 1
    assert side(tmp_path / "source").objects.names(LOCKS) == []


def test_a_backend_that_somebody_chose_keeps_the_ci_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    chosen = Backend("https://api.pulumi.com", "your pulumi login", None)
    noted = prepared(tmp_path, chosen, outputs("gs://state-1a2b"))
    assert state.take_home(noted.ready, "ci") == 0
    assert "scripts/state move ci 'gs://state-1a2b'" in capsys.readouterr().err


def test_a_ci_stack_without_a_bucket_is_an_error(tmp_path: Path):
    noted = stack_in(tmp_path, outputs(None))
    with pytest.raises(BootstrapError, match="state_backend"):
        state.take_home(noted.ready, "dev")


def where(noted: Noted, url: str) -> int:
    return state.state(noted.ready.checkout, ["where", "dev"], {"PULUMI_BACKEND_URL": url})


def test_where_says_what_lies_there_and_who_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    noted, url = stack_in(tmp_path), folder_url(tmp_path / "source")
    assert where(noted, url) == 0
    said = capsys.readouterr().out
    assert "2 resources, 1 updates in its history, secrets encrypted by passphrase" in said
    move(noted, tmp_path / "target")
    capsys.readouterr()
    where(noted, url)
    assert f"an old copy: moved to {folder_url(tmp_path / 'target')}" in capsys.readouterr().out
    where(noted, folder_url(tmp_path / "nowhere"))
    assert "It has no such stack." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["where"],
        ["move", "dev"],
        ["where", "dev", "gs://b"],
        ["move", "dev", "gs://b", "gs://c"],
        ["where", "dev", "--secrets-provider", "passphrase"],
    ],
)
def test_other_words_get_the_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
):
    assert state.state(Checkout(tmp_path), arguments, {}) == 2
    assert "scripts/state move STACK URL" in capsys.readouterr().err


@pytest.mark.parametrize("provider", ["", "kms", "gcpkms://", "s3://key"])
def test_what_is_no_secrets_provider_is_refused(tmp_path: Path, provider: str):
    words = ["move", "dev", "gs://b", f"--secrets-provider={provider}"]
    with pytest.raises(BootstrapError, match="is no secrets provider"):
        state.state(Checkout(tmp_path), words, {})
