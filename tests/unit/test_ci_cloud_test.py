"""The nightly test: its label, its own address, and a sweep that takes nobody else's."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_google_apis import FakeApis, refusal

from scripts.bootstrap import plugins, virtual_environment
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli
from scripts.ci import cloud_test, sweep

NOW = datetime(2026, 11, 22, 6, 41, tzinfo=UTC)
OLD, YOUNG = "2026-11-21T17:37:00.000-08:00", "2026-11-21T21:00:00.000-08:00"
LABEL = cloud_test.LABEL
OURS = {LABEL: "77"}
PROJECT = "our-test-project"
COMPUTE = f"compute/v1/projects/{PROJECT}"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "check out"
    (root / "scripts").mkdir(parents=True)
    (root / "stacks").mkdir()
    for name in ("down", "pulumi"):
        script = root / "scripts" / name
        script.write_text(f'#!/bin/sh\necho {name} "$@" >> calls\n', encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return Checkout(root)


def stack_file(checkout: Checkout, name: str, lines: str) -> None:
    text = f"config:\n  llm-endpoint:program: cpu-vm\n{lines}"
    (checkout.root / "stacks" / f"Pulumi.{name}.yaml").write_text(text, encoding="utf-8")


def calls(checkout: Checkout) -> list[str]:
    return (checkout.root / "calls").read_text(encoding="utf-8").splitlines()


def test_all_that_it_makes_gets_the_label_of_the_run(checkout: Checkout):
    stack_file(checkout, "nightly-gke", "")
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_RUN_ID": "77"}
    assert cloud_test.configure(checkout, "nightly-gke", environment) == 0
    label = f"pulumi config set labels {LABEL}=77 --stack nightly-gke"
    assert calls(checkout) == [label]


def test_the_runner_lets_itself_in_where_the_stack_says_who_may_come(checkout: Checkout):
    stack_file(checkout, "nightly-vm", "  llm-endpoint:allowed_cidrs: 192.0.2.1/32\n")
    found = cloud_test.values(checkout, "nightly-vm", {}, lambda: "203.0.113.7")
    assert found == {"labels": f"{LABEL}=by-hand", "allowed_cidrs": "203.0.113.7/32"}


def test_a_runner_whose_address_nobody_tells_is_an_error(checkout: Checkout):
    stack_file(checkout, "nightly-vm", "  llm-endpoint:allowed_cidrs: 192.0.2.1/32\n")
    with pytest.raises(BootstrapError, match="public address"):
        cloud_test.values(checkout, "nightly-vm", {}, lambda: None)


def test_only_a_nightly_stack_is_configured(checkout: Checkout):
    with pytest.raises(BootstrapError, match="prod: no stack of the nightly test"):
        cloud_test.values(checkout, "prod", {}, lambda: None)


@pytest.fixture
def backend(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the stacks that a backend has, which `clear` and a sweep ask."""
    names: set[str] = set()
    cli, where = Cli(Path("pulumi"), "", ""), Backend("gs://b", "a test", None)

    def prepared(_: Checkout, name: str, variables: dict[str, str], **__: bool) -> Prepared:
        return Prepared(checkout, Path("python"), cli, plugins.Plan("engine"), where, variables)

    def create(_: Checkout, name: str, *__: object) -> None:
        names.add(name)

    monkeypatch.setattr(cloud_test, "prepare", prepared)
    monkeypatch.setattr(cloud_test.stack, "exists", lambda _, name, *__: name in names)
    monkeypatch.setattr(cloud_test.stack, "create", create)
    return names


def test_a_night_begins_with_what_an_earlier_one_left(checkout: Checkout, backend: set[str]):
    backend.add("nightly-a")
    assert cloud_test.clear(checkout, "nightly-a", {"PATH": "/usr/bin:/bin"}) == 0
    assert calls(checkout) == ["down nightly-a --suppress-permalink=true"]


def test_the_first_night_of_a_stack_makes_it(checkout: Checkout, backend: set[str]):
    assert cloud_test.clear(checkout, "nightly-a", {"PATH": "/usr/bin:/bin"}) == 0
    assert backend == {"nightly-a"}
    assert not (checkout.root / "calls").exists()
    with pytest.raises(BootstrapError, match="prod: no stack of the nightly test"):
        cloud_test.clear(checkout, "prod", {})


def test_a_sweep_destroys_every_nightly_stack_and_then_looks_for_the_label(
    checkout: Checkout, backend: set[str], monkeypatch: pytest.MonkeyPatch
):
    python = checkout.root / "scripts" / "python"
    python.write_text('#!/bin/sh\necho python "$@" >> calls\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(virtual_environment, "ensure", lambda *_: python)
    names = ["nightly-a", "nightly-b", "nightly-never-up"]
    backend.update(names[:2])
    variables = {"PATH": "/usr/bin:/bin", "PROJECT": PROJECT}
    assert cloud_test.sweep(checkout, names, variables) == 1
    assert calls(checkout) == [
        *(f"down {name} --suppress-permalink=true" for name in names[:2]),
        f"python -m scripts.ci.sweep --project {PROJECT} --label {LABEL} --delete",
    ]


@pytest.mark.parametrize(
    ("stacks", "project"), [(["prod"], PROJECT), ([], ""), ([], "--all"), (["nightly-a"], "A b")]
)
def test_a_sweep_of_anything_else_is_refused(checkout: Checkout, stacks: list[str], project: str):
    with pytest.raises(BootstrapError):
        cloud_test.sweep(checkout, stacks, {"PATH": "/usr/bin:/bin", "PROJECT": project})
    assert not (checkout.root / "calls").exists()


def test_a_sweep_leaves_the_stack_that_gives_the_test_its_rights(checkout: Checkout):
    file = checkout.root / "stacks" / "Pulumi.nightly-ci.yaml"
    file.write_text("config:\n  llm-endpoint:program: ci\n", encoding="utf-8")
    with pytest.raises(BootstrapError, match="nightly-ci: no stack of the nightly test"):
        cloud_test.sweep(checkout, ["nightly-ci"], {"PROJECT": PROJECT})


def test_a_matrix_that_is_no_list_is_an_error(capsys: pytest.CaptureFixture[str]):
    assert cloud_test.main(["sweep"], {"STACKS": "nightly-a", "PROJECT": PROJECT}) == 1
    assert "JSON list" in capsys.readouterr().err


# The label in the project.


@pytest.fixture
def apis() -> Iterator[FakeApis]:
    with FakeApis() as fake:
        clusters = f"container/v1/projects/{PROJECT}/locations/-/clusters"
        fake.on(clusters, (200, {}))
        for kind in ("instances", "forwardingRules", "addresses", "disks"):
            fake.on(f"{COMPUTE}/aggregated/{kind}", (200, {"items": {}}))
        yield fake


def has(apis: FakeApis, kind: str, scope: str, **resource: object) -> None:
    resource = {"labels": OURS, "creationTimestamp": OLD, **resource}
    nothing = {"warning": {"code": "NO_RESULTS_ON_PAGE"}}
    items = {"zones/elsewhere": nothing, scope: {kind: [resource]}}
    apis.on(f"{COMPUTE}/aggregated/{kind}", (200, {"items": items}))
    apis.on(f"{COMPUTE}/{scope}/{kind}/{resource['name']}", (200, {"name": "operation"}))


def run(apis: FakeApis, *more: str) -> int:
    words = ["--project", PROJECT, "--label", LABEL, *more]
    return sweep.main(words, apis.environment, NOW)


def deleted(apis: FakeApis) -> list[str]:
    begin = f"/projects/{PROJECT}/"
    return [one.path.partition(begin)[2] for one in apis.asked if one.method == "DELETE"]


def test_nothing_with_the_label_is_told(apis: FakeApis, capsys: pytest.CaptureFixture[str]):
    assert run(apis, "--delete") == 0
    assert f"Nothing in {PROJECT}" in capsys.readouterr().out
    asked = next(one for one in apis.asked if one.path.endswith("aggregated/disks"))
    assert asked.query["filter"] == [f"labels.{LABEL}:*"]


def test_what_is_old_is_deleted_in_the_order_in_which_that_goes(apis: FakeApis):
    has(apis, "disks", "zones/z1", name="a-disk")
    has(apis, "instances", "zones/z1", name="a-machine")
    has(apis, "addresses", "global", name="an-address")
    has(apis, "forwardingRules", "regions/r1", name="a-rule")
    cluster = {"name": "a-cluster", "location": "r1", "resourceLabels": OURS, "createTime": OLD}
    path = f"container/v1/projects/{PROJECT}/locations"
    apis.on(f"{path}/-/clusters", (200, {"clusters": [cluster]}))
    apis.on(f"{path}/r1/clusters/a-cluster", (200, {}))
    assert run(apis, "--delete") == 1
    assert deleted(apis) == [
        *("locations/r1/clusters/a-cluster", "zones/z1/instances/a-machine"),
        *("regions/r1/forwardingRules/a-rule", "global/addresses/an-address"),
        "zones/z1/disks/a-disk",
    ]


def test_what_a_test_that_runs_may_have_made_stays(
    apis: FakeApis, capsys: pytest.CaptureFixture[str]
):
    has(apis, "instances", "zones/z1", name="a-machine", creationTimestamp=YOUNG)
    has(apis, "disks", "zones/z1", name="no-moment", creationTimestamp="")
    assert run(apis, "--delete") == 1
    assert deleted(apis) == []
    assert "zones/z1/instances/a-machine (young: the next time)" in capsys.readouterr().out


def test_what_has_not_the_label_is_never_deleted(apis: FakeApis):
    # Whatever the filter let through.
    has(apis, "instances", "zones/z1", name="theirs", labels={"team": "other"})
    has(apis, "disks", "zones/z1", name="bare", labels={})
    assert run(apis, "--delete") == 0
    assert deleted(apis) == []


def test_without_delete_it_only_looks(apis: FakeApis, capsys: pytest.CaptureFixture[str]):
    has(apis, "instances", "zones/z1", name="a-machine")
    assert run(apis) == 1
    assert deleted(apis) == []
    assert "zones/z1/instances/a-machine (left)" in capsys.readouterr().out


def test_of_a_machine_in_a_group_the_group_is_deleted(apis: FakeApis):
    group = "projects/123/zones/z1/instanceGroupManagers/a-group"
    items = [{"key": "other"}, {"key": "created-by", "value": group}]
    has(apis, "instances", "zones/z1", name="a-machine-x1", metadata={"items": items})
    apis.on(f"{COMPUTE}/zones/z1/instanceGroupManagers/a-group", (200, {}))
    assert run(apis, "--delete") == 1
    assert deleted(apis) == ["zones/z1/instanceGroupManagers/a-group"]


def test_the_machines_of_a_cluster_go_with_it(apis: FakeApis):
    labels = {**OURS, "goog-k8s-cluster-name": "a-cluster"}
    has(apis, "instances", "zones/z1", name="gke-node", labels=labels)
    assert run(apis, "--delete") == 0
    assert deleted(apis) == []


def test_what_is_refused_is_told_and_the_rest_goes_on(
    apis: FakeApis, capsys: pytest.CaptureFixture[str]
):
    has(apis, "instances", "zones/z1", name="a-machine")
    has(apis, "disks", "zones/z1", name="a-disk")
    apis.on(f"{COMPUTE}/zones/z1/instances/a-machine", refusal(400, "in use by another"))
    assert run(apis, "--delete") == 1
    assert "refused: zones/z1/instances/a-machine: HTTP 400" in capsys.readouterr().out
    assert deleted(apis)[-1] == "zones/z1/disks/a-disk"


def test_what_is_gone_already_is_no_problem(apis: FakeApis, capsys: pytest.CaptureFixture[str]):
    has(apis, "instances", "zones/z1", name="a-machine")
    apis.on(f"{COMPUTE}/zones/z1/instances/a-machine", refusal(404, "gone"))
    assert run(apis, "--delete") == 1
    assert "refused" not in capsys.readouterr().out


def test_clusters_are_not_asked_of_who_may_make_none(
    apis: FakeApis, capsys: pytest.CaptureFixture[str]
):
    clusters = f"container/v1/projects/{PROJECT}/locations/-/clusters"
    apis.on(clusters, refusal(403, "the API is not on", "SERVICE_DISABLED"))
    has(apis, "instances", "zones/z1", name="a-machine")
    assert run(apis, "--delete") == 1
    assert deleted(apis) == ["zones/z1/instances/a-machine"]
    assert "not looked at: clusters (HTTP 403" in capsys.readouterr().err


def test_an_api_that_refuses_to_list_is_an_error(
    apis: FakeApis, capsys: pytest.CaptureFixture[str]
):
    apis.on(f"{COMPUTE}/aggregated/disks", refusal(403, "no right to list"))
    assert run(apis, "--delete") == 1
    said = capsys.readouterr().err
    assert "can't be told" in said
    assert json.dumps(OURS) not in said
