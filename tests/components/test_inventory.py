"""What each stack makes is what its inventory says: a change of it is there for a reviewer to see.

`scripts/test --update-inventory` writes the inventories anew; their diff is what to look at.
"""

import re
from pathlib import Path

import pytest
from key_rows import as_text

from emulator.mocks.recording import SECRET, SIGNATURE, Registration
from scripts.inventory import __main__ as command
from scripts.inventory.access import access
from scripts.inventory.document import FOLDER, differences, file_of, text_of
from scripts.inventory.exposure import exposure
from scripts.inventory.machines import images, machines
from scripts.inventory.sections import kept, secrets
from stacks import PROGRAMS

CHECKOUT = Path(__file__).resolve().parents[2]


def registered(token: str, *, protect: bool = False, **inputs: object) -> Registration:
    return Registration(
        token=token,
        name="it",
        parent="vm",
        inputs=inputs,
        delete_before_replace=False,
        additional_secret_outputs=(),
        protect=protect,
        retain_on_delete=False,
        ignore_changes=(),
        replace_on_changes=(),
        provider="",
        version="",
        dependencies=frozenset(),
        input_dependencies={},
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_stack_makes_what_its_inventory_says(program: str, monkeypatch: pytest.MonkeyPatch):
    # Of user-data an inventory has the images alone, which stand in it unpacked.
    monkeypatch.setattr("components.rendering.machine.render.user_data", as_text)
    file = file_of(program)
    kept_text = file.read_text(encoding="utf-8") if file.exists() else ""
    changed = "".join(command.difference(kept_text, text_of(program), file.name))
    assert not changed, f"next: scripts/test --update-inventory, and look at\n{changed}"


def test_every_program_has_an_inventory_and_nothing_else_has():
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}.yaml" for name in PROGRAMS}


def test_every_component_is_in_some_inventory():
    shown = "".join(file.read_text(encoding="utf-8") for file in FOLDER.iterdir())
    types = {
        found
        for file in (CHECKOUT / "components").rglob("*.py")
        for found in re.findall(r'"(llm-endpoint:\w+:\w+)"', file.read_text(encoding="utf-8"))
    }
    assert len(types) > 15
    assert {one for one in types if f"- {one} " not in shown} == set()


def test_no_inventory_holds_a_secret_or_what_every_release_changes():
    for file in FOLDER.iterdir():
        shown = file.read_text(encoding="utf-8")
        own = shown.partition("variants:")[0]
        assert "sk-mocked" not in shown
        assert "PRIVATE KEY" not in shown
        assert not re.search(r"[0-9a-f]{32}", own), file.name


def rule(**changed: object) -> Registration:
    allows = [{"protocol": "tcp", "ports": ["443"]}]
    inputs = {"sourceRanges": ["203.0.113.0/24"], "allows": allows, "targetTags": ["web"]}
    return registered("gcp:compute/firewall:Firewall", **{**inputs, **changed})


def test_a_rule_for_other_ranges_or_ports_is_another_line():
    assert [*exposure(rule())] == ["Firewall it: lets in 203.0.113.0/24 to tcp 443"]
    assert [*exposure(rule(sourceRanges=["0.0.0.0/0"]))] != [*exposure(rule())]
    ssh = rule(allows=[{"protocol": "tcp", "ports": ["22"]}])
    assert [*exposure(ssh)] != [*exposure(rule())]
    denied = rule(allows=None, denies=[{"protocol": "all"}])
    assert [*exposure(denied)] == ["Firewall it: keeps out 203.0.113.0/24 from all"]
    out = rule(direction="EGRESS", sourceRanges=None, destinationRanges=["198.51.100.0/24"])
    assert [*exposure(out)] == ["Firewall it: lets out to 198.51.100.0/24 with tcp 443"]


def test_a_rule_that_leaves_something_out_says_what_it_is_for_then():
    (line,) = exposure(rule(sourceRanges=None))
    assert line == "Firewall it: lets in the whole world to tcp 443"
    assert [*exposure(rule(sourceRanges=None, sourceTags=["a"]))] == [
        "Firewall it: lets in a to tcp 443"
    ]
    (line,) = exposure(rule(targetTags=None))
    assert line.endswith("to tcp 443 of every machine in the network")
    (line,) = exposure(rule(disabled=True))
    assert line.startswith("Firewall it: switched off, it lets in ")


def test_a_load_balancer_without_ranges_is_said_to_be_for_the_whole_world():
    spec = {"type": "LoadBalancer", "ports": [{"port": 443.0}]}
    (line,) = exposure(registered("kubernetes:core/v1:Service", spec=spec))
    assert line == "Service it: LoadBalancer, port 443 for the whole world"


def test_a_policy_that_lets_anybody_in_says_so():
    def line(rule: object) -> str:
        spec = {"policyTypes": ["Ingress"], "ingress": [rule]}
        (found,) = exposure(registered("kubernetes:networking.k8s.io/v1:NetworkPolicy", spec=spec))
        return found

    assert line({}) == "NetworkPolicy it: in from anybody: every port"
    peers = [{"podSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {}}]
    told = line({"from": peers, "ports": [{"port": 80.0}]})
    assert told == "NetworkPolicy it: in from pods a=b of namespaces all: TCP 80"


def test_a_role_names_who_gets_it_where_and_on_which_condition():
    given = {"role": "roles/owner", "member": "user:a@example.com", "project": "p"}
    one = registered("gcp:projects/iAMMember:IAMMember", **given)
    assert [*access(one)] == ["user:a@example.com gets roles/owner on project p"]
    narrower = registered("x:y:BucketIAMMember", **given, bucket="b", condition={"expression": "c"})
    assert [*access(narrower)] == ["user:a@example.com gets roles/owner on bucket b, if c"]
    topic = registered("gcp:pubsub/topicIAMMember:TopicIAMMember", role="r", member="allUsers")
    assert [*access(topic)] == ["allUsers gets r on it"]
    both = registered("x:y:IAMBinding", role="r", members=["a", "b"], project="p")
    assert [*access(both)] == ["a gets r on project p", "b gets r on project p"]


def test_an_image_says_whether_it_is_pinned_and_not_to_what():
    def line(image: str) -> str:
        spec = {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}
        (found,) = images(registered("kubernetes:apps/v1:Deployment", spec=spec))
        return found

    assert line(f"host:5000/a/b:1@sha256:{'0' * 64}") == "it: host:5000/a/b, by digest"
    assert line("host:5000/a/b:1") == "it: host:5000/a/b, by tag"
    assert line("host:5000/a/b") == "it: host:5000/a/b, by tag"


def test_the_engine_s_image_on_a_machine_is_in_its_inventory():
    shown = file_of("gpu-vm").read_text(encoding="utf-8")
    assert "- 'gpu-vm-instance: ghcr.io/ggml-org/llama.cpp, by digest'\n" in shown


def test_spot_and_its_end_show_on_a_machine():
    limits = {"provisioningModel": "SPOT", "instanceTerminationAction": "STOP"}
    spot = registered("gcp:compute/instance:Instance", machineType="n1", scheduling=limits)
    assert [*machines(spot)] == ["Instance it: n1, Spot, is ended by STOP"]


def test_a_secret_shows_by_its_name_alone():
    hidden = {SIGNATURE: SECRET, "value": "sk-hidden"}
    one = registered("x:y:Thing", plain="seen", inner={"list": [hidden]})
    assert [*secrets(one)] == ["Thing it: inner.list[0]"]


def test_what_is_protected_in_any_way_is_kept():
    assert [*kept(registered("x:y:Thing", protect=True))] == ["Thing it: protected"]
    cluster = registered("x:y:Cluster", deletionProtection=True)
    assert [*kept(cluster)] == ["Cluster it: deletion protection of its own"]
    assert [*kept(registered("x:y:Thing"))] == []


def test_a_variant_lists_only_what_differs():
    plain = {"makes": ("a", "b"), "kept": ("c",)}
    other = {"makes": ("b", "d"), "kept": ("c",)}
    assert differences(plain, other) == {"makes": {"more": ["d"], "less": ["a"]}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "text_of", lambda program: f"what {program} makes\n")


@pytest.mark.usefixtures("told")
def test_what_is_not_current_is_shown_and_written_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command.main(["local"], tmp_path) == 1
    seen = capsys.readouterr()
    assert "+what local makes" in seen.out
    assert "next: scripts/test --update-inventory" in seen.err
    assert not [*tmp_path.iterdir()]
    assert command.main(["--update", "local"], tmp_path) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["local.yaml"]
    assert command.main(["local"], tmp_path) == 0


def test_a_name_that_is_no_programs_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        command.main(["locla"])
    assert ended.value.code == 2
    assert "locla: the programs are local, cpu-vm" in capsys.readouterr().err
