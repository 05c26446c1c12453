"""The configuration of `cpu-vm`: what it takes, and what it refuses at once, by name."""

import pytest

from components.catalogue.gcp import catalogue
from components.settings import ConfigurationError, CpuVmSettings
from stacks import PROGRAMS

GOOD = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "allowed_cidrs": "203.0.113.7/32",
}


def settings(**raw: str) -> CpuVmSettings:
    read = PROGRAMS["cpu-vm"].settings({**GOOD, **raw})
    assert isinstance(read, CpuVmSettings)
    return read


def refusal(raw: dict[str, str], *missing: str) -> str:
    kept = {key: value for key, value in {**GOOD, **raw}.items() if key not in missing}
    with pytest.raises(ConfigurationError) as caught:
        PROGRAMS["cpu-vm"].settings(kept)
    return str(caught.value)


def test_three_keys_are_enough():
    read = settings()
    assert (read.project, read.zone, read.region) == (
        "my-project",
        "europe-west4-a",
        "europe-west4",
    )
    assert read.machine_type == "e2-standard-16"
    assert read.warnings() == ()


def test_what_has_no_default_is_asked_for_at_once_each_with_its_next_step():
    said = refusal({}, *GOOD)
    assert "3 problems" in said
    assert "gcp:project is not set" in said
    assert "next: scripts/pulumi config set gcp:zone europe-west4-a" in said
    assert "llm-endpoint:allowed_cidrs is not set" in said


def test_all_of_a_bad_configuration_is_refused_at_once():
    bad = {
        "gcp:zone": "europe-wset4-a",
        "machine_type": "n2-standrd-16",
        "model": "bartowski/Qwen2.5-72B-Instruct-GGUF:Q4_K_M",
        "cache_gb": "20",
        "allowed_cidrs": "10.0.0.1/24",
        "tls": "acme",
        "spot": "true",
        "schedule": "stop 0 20 * * *",
        "idle_minutes": "soon",
        "machnie_type": "e2-standard-4",
    }
    said = refusal(bad)
    keys = {"machnie_type", "idle_minutes", "allowed_cidrs", "machine_type", "cache_gb", "tls"}
    for key in (*keys, "schedule"):
        assert f"llm-endpoint:{key} is" in said
    assert "gcp:zone is 'europe-wset4-a'" in said
    assert "8 problems" in said
    assert said.count("next:") == 8


def test_keys_that_do_not_fit_are_not_judged_by_a_value_that_is_bad_itself():
    said = refusal({"tls": "acme", "domain": "https://x"})
    assert "one problem" in said
    assert "without https://" in said


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"tls": "acme"}, "tls is 'acme': Let's Encrypt signs for a domain"),
        ({"dns_zone": "mine"}, "dns_zone is 'mine': it is for the domain's record"),
        ({"spot": "true", "schedule": "stop 0 20 * * *"}, "a Spot machine is stopped by Google"),
        ({"spot_recovery": "mig"}, "spot_recovery is 'mig': only a Spot machine"),
        (
            {"spot": "true", "spot_recovery": "mig", "max_run_hours": "8"},
            "max_run_hours is '8': the group would start again",
        ),
        (
            {"spot": "true", "spot_recovery": "mig", "schedule": "stop 0 20 * * *"},
            "the group would start again what the schedule stops",
        ),
        ({"spot": "true", "machine_type": "m2-ultramem-208"}, "m2 is not offered as Spot"),
        ({"gcp:region": "us-east1"}, "gcp:region is 'us-east1': gcp:zone is 'europe-west4-a'"),
        (
            {"machine_type": "h3-standard-88", "gcp:zone": "europe-west12-a"},
            "europe-west12 has no h3",
        ),
        (
            {"machine_type": "e2-highcpu-4"},
            "it has 4 GB of memory, and by their names the models alone take about 4.3 GB",
        ),
        (
            {"model": "o/m-70B-GGUF:Q4_K_M", "cache_gb": "30", "machine_type": "e2-highmem-16"},
            "cache_gb is '30': the models take about 42.8 GB",
        ),
        ({"subnetwork": "mine"}, "network is not set: the subnetwork that is given"),
        (
            {"network": "n", "subnetwork": "projects/p/regions/us-east1/subnetworks/s"},
            "it lies in us-east1, and gcp:zone is 'europe-west4-a'",
        ),
        ({"kv_type": "q8_0", "flash_attention": "off"}, "keeps a q8_0 cache only with flash"),
        ({"engine": "localllm", "llama_server": "native"}, "it is a build of llama_cpp"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(raw: dict[str, str], said: str):
    assert said in refusal(raw)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "allowed_cidrs",
            "10.0.0.1/24",
            "the network is 10.0.0.0/24, the address alone 10.0.0.1/32",
        ),
        ("allowed_cidrs", "10.0.0.1", "that address alone is 10.0.0.1/32"),
        ("allowed_cidrs", "10.0.0.256/32", "is no range such as 203.0.113.7/32"),
        ("allowed_cidrs", "0.0.0.0/0", "write world if you mean everybody"),
        ("allowed_cidrs", "203.0.113.7/32 ::/0", "write world if you mean everybody"),
        ("allowed_cidrs", "0.0.0.0/1 128.0.0.0/1", "write world if you mean everybody"),
        ("allowed_cidrs", "2001:db8::/64", "the machine has an IPv4 address alone"),
        ("allowed_cidrs", "", "it lets nobody in"),
        ("domain", "203.0.113.7", "that is an address"),
        ("domain", "llm.example.org:443", "without https:// or a port"),
        ("domain", "localhost", "that is no DNS name"),
        ("domain", "a_b.example.org", "that is no DNS name"),
        ("labels", "Team=x", "'Team' is no label's name"),
        ("labels", "team=Büro", "is no label's value"),
        ("labels", "team", "'team' has no value"),
        ("labels", "team=a team=b", "team stands there twice"),
        ("labels", '{"team": ', "starts like a JSON object and is none"),
        ("idle_minutes", "3", "it is 0 for never, or at least 5"),
        ("idle_minutes", "10081", "it takes a whole number, from 0, to 10080"),
        ("max_run_hours", "2881", "it takes a whole number, from 1, to 2880"),
        ("model", "./model.gguf", "a file of this machine"),
        ("model", "builtin:stand-in", "the stand-in only tries things out"),
        ("model", "http://127.0.0.1/m.gguf", "this machine's own address"),
        ("embeddings_model", "/models/m.gguf", "a file of this machine"),
        ("image", "debian-13", "it takes debian-12, ubuntu-24.04, or a path"),
        ("boot_gb", "5", "it takes a whole number, from 20"),
        ("cache_gb", "1", "it takes a whole number, from 10"),
        ("network", "My Net", "it takes a name, or a path"),
        ("network", "projects/p/regions/r/subnetworks/n", "global/networks/NAME"),
        ("subnetwork", "projects/p/global/networks/n", "regions/REGION/subnetworks/NAME"),
        ("dns_zone", "example.org", "not its domain"),
        ("gcp:project", "My Project", "that is no project's id"),
        ("machine_type", "g2-standard-4", "with GPUs"),
        ("machine_type", "c4a-standard-4", "an Arm machine"),
        ("engine_flags", "--api-key x", "--api-key is not for engine_flags"),
    ],
)
def test_a_value_that_will_not_do_is_refused_with_what_would(key: str, value: str, said: str):
    message = refusal({key: value})
    assert said in message
    assert key in message
    assert "next: scripts/pulumi config set" in message


def test_a_schedule_beside_a_group_is_one_problem():
    said = refusal({"spot": "true", "spot_recovery": "mig", "schedule": "stop 0 20 * * *"})
    assert "one problem" in said


def test_each_command_names_the_stack_that_it_is_for():
    with pytest.raises(ConfigurationError) as caught:
        settings(tls="acme", labels="Team=x")
    said = str(caught.value.for_stack("cpu-vm"))
    assert "config set labels VALUE --stack cpu-vm\n" in f"{said}\n"
    assert (
        "config set domain llm.example.org --stack cpu-vm, or "
        "scripts/pulumi config set tls own_ca --stack cpu-vm"
    ) in said


def test_the_world_comes_in_only_by_its_name():
    assert settings(allowed_cidrs="world").allowed_cidrs == ("0.0.0.0/0",)


def test_ranges_are_sorted_and_each_stands_once():
    read = settings(allowed_cidrs="203.0.113.0/24, 10.0.0.0/8 203.0.113.0/24")
    assert read.allowed_cidrs == ("10.0.0.0/8", "203.0.113.0/24")


def test_an_ipv6_range_is_a_warning_since_nobody_can_come_by_it():
    read = settings(allowed_cidrs="203.0.113.7/32 2001:db8::/64")
    assert read.allowed_cidrs == ("203.0.113.7/32", "2001:db8::/64")
    assert "IPv4 address alone" in read.warnings()[0]


def test_a_query_in_a_model_s_url_is_a_warning_that_does_not_repeat_it():
    (said,) = settings(model="https://example.org/m-7B-Q4_K_M.gguf?token=hunter2").warnings()
    assert "the machine's metadata" in said
    assert "hunter2" not in said


def test_what_the_catalogue_does_not_know_is_a_warning():
    read = settings(**{"gcp:zone": "europe-west13-a", "machine_type": "c5-standard-16"})
    assert len(read.warnings()) == 2
    assert read.disk_type == "hyperdisk-balanced"


def test_a_series_whose_processors_may_not_run_the_wheel_is_a_warning():
    assert "lack AVX2" in settings(machine_type="n1-standard-16").warnings()[0]
    native = settings(machine_type="n1-standard-16", llama_server="native")
    assert native.warnings() == ()


def test_the_disk_type_is_one_that_the_series_takes():
    assert settings().disk_type == "pd-balanced"
    assert settings(machine_type="n4-standard-16").disk_type == "hyperdisk-balanced"


def test_the_cache_is_chosen_for_the_models_and_a_given_one_stays():
    assert settings().disk_gb() == 50
    large = {"model": "o/m-70B-GGUF:Q4_K_M", "machine_type": "e2-highmem-16"}
    assert settings(**large).disk_gb() == 90
    assert settings(cache_gb="25").disk_gb() == 25


def test_an_image_is_named_short_or_by_its_path():
    assert settings().image_path == "projects/debian-cloud/global/images/family/debian-12"
    path = "projects/my-project/global/images/mine-1"
    assert settings(image=path).image_path == path


def test_labels_come_as_words_or_as_json():
    assert settings(labels="team=research a=1").labels == {"a": "1", "team": "research"}
    assert settings(labels='{"team": ""}').labels == {"team": ""}


def test_a_domain_is_kept_in_its_plain_form():
    assert settings(domain="LLM.Example.org.").domain == "llm.example.org"


def test_a_provider_key_that_another_program_does_not_read_is_no_unknown_key():
    assert PROGRAMS["local"].settings({"gcp:zone": "europe-west4-a", "gcp:region": "x"}).model


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"slots": "2"}, "slots is '2': engine 'localllm' answers one request at a time"),
        ({"kv_type": "bf16"}, "kv_type is 'bf16': it can be f16, q8_0, q4_0"),
        ({"model": "https://example.org/m.gguf"}, "pulls single GGUF files"),
        ({"model": "o/r-GGUF:Q4_K_M"}, "name the file"),
        ({"model": "o/r@v1:m.gguf"}, "the branch main alone"),
        ({"engine_flags": "--threads 2"}, "no option that engine 'localllm' takes"),
        ({"embeddings_model": "o/e:e.gguf"}, "makes no embeddings"),
    ],
)
def test_what_localllm_can_not_do_is_refused(raw: dict[str, str], said: str):
    assert said in refusal({"engine": "localllm", "model": "o/r:m.gguf", **raw})


def test_the_default_machine_is_one_of_the_catalogue():
    machine = settings().machine()
    assert machine is not None
    assert machine.series.name in catalogue().series
