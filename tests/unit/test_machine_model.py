"""Stage `model`: pulled, checked, reckoned, and said in which way it failed."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, gguf_bytes
from fake_world import SERVERS, FakeMachine, fake_machine

from components.models.gguf_header import GgufHeader
from components.sizing.gpu_memory_fit import GpuNeed
from components.sizing.memory_fit import estimate
from machine.commands import Result
from machine.config import Config, Server
from machine.environments import STAMP
from machine.errors import Permanent, StageError, Temporary
from machine.stages import model
from machine.stages.model import Placed, check_gpu_memory, check_memory, run
from scripts.models.transport import Patience

CONTENT = gguf_bytes(1)
IMPATIENT = Patience(
    connect_seconds=2, read_seconds=2, retries=1, first_pause_seconds=0, sleep=lambda _: None
)
LLAMA_8B = GgufHeader(
    "llama",
    block_count=32,
    context_length=131072,
    embedding_length=4096,
    feed_forward_length=14336,
    head_count=32,
    head_count_kv=8,
    vocab_size=128256,
)


@pytest.fixture
def hub(monkeypatch) -> Iterator[FakeHub]:
    made = FakeHub()
    made.put("owner/repo", {"file.gguf": CONTENT})
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield made
    made.close()


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return fake_machine(tmp_path)


def configured(machine: FakeMachine, **changes: object) -> Config:
    """Settings with one server that is not reckoned, and `changes` to it."""
    (server,) = SERVERS
    unreckoned = {**server, "context_tokens_total": None, "slots": None, "kv_type": None}
    return machine.config(servers=[{**unreckoned, **changes}])


def test_the_model_is_pulled_and_the_server_told_where_it_is(machine: FakeMachine, hub: FakeHub):
    said = run(configured(machine), machine.world, IMPATIENT)
    assert said == "owner/repo:file.gguf for chat"
    name, _, value = machine.paths.server("chat").read_text().strip().partition("=")
    assert name == "LLM_ENDPOINT_MODEL"
    assert Path(value.strip('"')).read_bytes() == CONTENT
    assert Path(value.strip('"')).is_relative_to(machine.paths.data / "models")
    assert any("pulling owner/repo:file.gguf" in line for line in machine.said)


def test_a_model_that_is_there_needs_no_network(machine: FakeMachine, hub: FakeHub):
    config = configured(machine)
    run(config, machine.world, IMPATIENT)
    asked = len(hub.seen)
    run(config, machine.world, IMPATIENT)
    assert len(hub.seen) == asked


def test_a_pull_that_broke_off_goes_on_at_the_next_try(machine: FakeMachine, hub: FakeHub):
    hub.faults = [Fault("/store/", cut=300_000), Fault("/store/", status=503)]
    with pytest.raises(Temporary, match="503"):
        run(configured(machine), machine.world, IMPATIENT)
    run(configured(machine), machine.world, IMPATIENT)
    assert hub.fetches()[-1].headers["Range"] == "bytes=300000-"


def failure(machine: FakeMachine, config: Config) -> StageError:
    with pytest.raises(StageError) as caught:
        run(config, machine.world, IMPATIENT)
    assert not machine.paths.server("chat").exists()
    return caught.value


def test_a_hub_in_trouble_is_temporary(machine: FakeMachine, hub: FakeHub):
    hub.faults = [Fault("/api/", status=500) for _ in range(2)]
    assert isinstance(failure(machine, configured(machine)), Temporary)


def test_a_hub_that_can_not_be_reached_is_temporary(machine: FakeMachine, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert isinstance(failure(machine, configured(machine)), Temporary)


def test_a_file_that_does_not_exist_is_permanent(machine: FakeMachine, hub: FakeHub):
    error = failure(machine, configured(machine, model="owner/repo:other.gguf"))
    assert isinstance(error, Permanent)
    assert "file.gguf" in error.message


def test_a_gated_repository_is_permanent(machine: FakeMachine, hub: FakeHub):
    hub.gated.add("owner/repo")
    error = failure(machine, configured(machine))
    assert isinstance(error, Permanent)
    assert "owner/repo is gated" in error.message


def test_a_file_that_stays_damaged_is_permanent(machine: FakeMachine, hub: FakeHub):
    hub.faults = [Fault("/store/", damage=True), Fault("/store/", damage=True)]
    assert isinstance(failure(machine, configured(machine)), Permanent)


def test_what_is_no_gguf_is_permanent(machine: FakeMachine, hub: FakeHub):
    hub.plain["page.gguf"] = b"<!doctype html>"
    config = configured(machine, model=f"{hub.url}/plain/page.gguf")
    assert isinstance(failure(machine, config), Permanent)


def test_a_disk_without_room_is_permanent_and_names_the_config_key(
    machine: FakeMachine, hub: FakeHub, monkeypatch
):
    class Usage:
        free = 1000

    monkeypatch.setattr("scripts.models.download.shutil.disk_usage", lambda _: Usage)
    error = failure(machine, configured(machine))
    assert isinstance(error, Permanent)
    assert "set cache_gb higher" in error.message
    assert "LLM_ENDPOINT_CACHE" not in error.message


def test_a_reference_that_names_nothing_is_permanent(machine: FakeMachine):
    error = failure(machine, configured(machine, model="no model at all"))
    assert isinstance(error, Permanent)


def test_a_header_that_can_not_be_read_is_permanent(machine: FakeMachine, hub: FakeHub):
    reckoned = {"context_tokens_total": 4096, "slots": 1, "kv_type": "f16"}
    error = failure(machine, configured(machine, **reckoned))
    assert isinstance(error, Permanent)
    assert "can't be reckoned with" in error.message


# memory


def placed(machine: FakeMachine, name: str, size_bytes: int, context: int = 8192) -> Placed:
    server: Server = configured(machine, name=name).servers[0]
    return Placed(server, "/m.gguf", estimate(LLAMA_8B, size_bytes, context, 1, "f16"))


def test_a_model_that_fits_is_let_through(machine: FakeMachine):
    check_memory([placed(machine, "chat", 4_900_000_000)], 16_000_000_000)


def test_a_model_that_does_not_fit_is_permanent_with_what_would(machine: FakeMachine):
    with pytest.raises(Permanent, match="context_tokens") as caught:
        check_memory([placed(machine, "chat", 4_900_000_000, 131072)], 16_000_000_000)
    assert "owner/repo:file.gguf for chat: the model needs about" in caught.value.message


def test_two_models_that_fit_alone_have_to_fit_together(machine: FakeMachine):
    chat = placed(machine, "chat", 4_900_000_000)
    embeddings = placed(machine, "embeddings", 4_900_000_000)
    for alone in (chat, embeddings):
        check_memory([alone], 8_000_000_000)
    with pytest.raises(Permanent):
        check_memory([chat, embeddings], 8_000_000_000)


def test_the_system_keeps_its_part_of_the_memory(machine: FakeMachine, hub: FakeHub, monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(model, "check_memory", lambda _, available: seen.append(available))
    run(configured(machine), machine.world, IMPATIENT)
    assert seen == [int(0.9 * 16_000_000 * 1024)]
    assert model.available_bytes(2_000_000_000) == 1_600_000_000


def test_the_servers_slice_has_the_memory_that_is_reckoned_with():
    units = Path(__file__).resolve().parents[2] / "components" / "rendering" / "files" / "units"
    lines = (units / "llm-endpoint-engines.slice").read_text().splitlines()
    assert f"MemoryMax={model.SERVERS_SHARE:.0%}" in lines


# the memory of GPUs

ONE_L4 = {"model": "nvidia-l4", "count": 1, "compute_capability": "8.9"}
L4_BYTES = 23034 * 1024 * 1024 - 600_000_000
LLAMA_8B_BYTES = 4_900_000_000


def on_gpus(
    machine: FakeMachine,
    size_bytes: int,
    context: int = 8192,
    layers: int | None = None,
    gpus: int | None = None,
    name: str = "chat",
) -> Placed:
    server: Server = configured(machine, name=name, gpu_layers=layers, gpus=gpus).servers[0]
    return Placed(server, "/m.gguf", estimate(LLAMA_8B, size_bytes, context, 8, "f16"))


def test_a_model_has_to_fit_the_gpus_and_not_the_memory_beside_them(machine: FakeMachine):
    check_gpu_memory([on_gpus(machine, LLAMA_8B_BYTES)], (L4_BYTES,), 1_000_000_000)


def test_a_model_that_exceeds_the_gpus_is_told_how_much_is_missing_and_what_fits(
    machine: FakeMachine,
):
    with pytest.raises(Permanent) as caught:
        check_gpu_memory([on_gpus(machine, LLAMA_8B_BYTES, 262_144)], (L4_BYTES,), 32_000_000_000)
    first, following = caught.value.message.splitlines()
    assert "the model needs about" in first
    assert "23.6 GB is free, so that " in first
    assert "is missing" in first
    assert "8 slots of 32768 tokens" in first
    for way in ("context_tokens ", "kv_type q8_0 with context_tokens 32768", "gpu_layers "):
        assert way in following


def test_what_is_told_to_fit_fits(machine: FakeMachine):
    with pytest.raises(Permanent) as caught:
        check_gpu_memory([on_gpus(machine, 30_000_000_000)], (L4_BYTES,), 32_000_000_000)
    found = re.search(r"gpu_layers (\d+), which leaves (\d+) layers", caught.value.message)
    assert found
    layers = int(found[1])
    assert layers + int(found[2]) == 33
    check_gpu_memory([on_gpus(machine, 30_000_000_000, layers=layers)], (L4_BYTES,), 32_000_000_000)
    with pytest.raises(Permanent):
        check_gpu_memory(
            [on_gpus(machine, 30_000_000_000, layers=layers + 1)], (L4_BYTES,), 32_000_000_000
        )


def test_layers_that_are_left_to_the_processor_have_to_fit_its_memory(machine: FakeMachine):
    with pytest.raises(Permanent, match="gpu_layers 8 leaves about"):
        check_gpu_memory([on_gpus(machine, 30_000_000_000, layers=8)], (L4_BYTES,), 16_000_000_000)
    # More layers than the model has are all of them.
    check_gpu_memory([on_gpus(machine, LLAMA_8B_BYTES, layers=999)], (L4_BYTES,), 0)


def test_a_file_that_does_not_say_its_layers_is_reckoned_whole():
    silent = replace(LLAMA_8B, block_count=None)
    need = GpuNeed(estimate(silent, LLAMA_8B_BYTES, 8192, 1, "f16"), 1, 8)
    assert (need.share, need.on_processor) == (1.0, 0)
    assert need.on_gpus > LLAMA_8B_BYTES


def test_two_models_have_to_fit_the_gpus_together(machine: FakeMachine):
    one = on_gpus(machine, 12_000_000_000)
    check_gpu_memory([one], (L4_BYTES,), 0)
    with pytest.raises(Permanent):
        check_gpu_memory([one, one], (L4_BYTES,), 0)
    check_gpu_memory([one, one], (L4_BYTES, L4_BYTES), 0)


def test_a_model_that_is_not_split_has_to_fit_one_gpu(machine: FakeMachine):
    two = (L4_BYTES, L4_BYTES)
    check_gpu_memory([on_gpus(machine, 30_000_000_000)], two, 0)
    with pytest.raises(Permanent, match=r"23\.6 GB is free"):
        check_gpu_memory([on_gpus(machine, 30_000_000_000, gpus=1)], two, 0)
    check_gpu_memory([on_gpus(machine, 12_000_000_000, gpus=1)], two, 0)


def test_a_model_on_one_gpu_has_to_fit_beside_the_part_of_another_that_lies_there(
    machine: FakeMachine,
):
    # Of 42.4 GB on two GPUs each has 21.2, which leaves 2.4 of its 23.6.
    two, chat = (L4_BYTES, L4_BYTES), on_gpus(machine, 41_000_000_000)
    half = chat.need and GpuNeed(chat.need, 2).on_gpus // 2
    assert half
    free = L4_BYTES - half
    small = on_gpus(machine, 100_000_000, 512, gpus=1, name="embeddings")
    own = small.need and GpuNeed(small.need, 1).on_gpus
    assert own
    fits = replace(small, need=estimate(LLAMA_8B, 100_000_000 + free - own, 512, 8, "f16"))
    check_gpu_memory([chat, fits], two, 0)
    exceeds = replace(small, need=estimate(LLAMA_8B, 100_000_010 + free - own, 512, 8, "f16"))
    with pytest.raises(Permanent) as caught:
        check_gpu_memory([chat, exceeds], two, 0)
    assert " for embeddings: the model needs about" in caught.value.message
    # On three GPUs each has a third of it.
    check_gpu_memory([chat, exceeds], (*two, L4_BYTES), 0)


def test_two_models_on_one_gpu_share_it_and_not_the_others(machine: FakeMachine):
    one = on_gpus(machine, 12_000_000_000, gpus=1)
    with pytest.raises(Permanent):
        check_gpu_memory([one, one], (L4_BYTES, L4_BYTES), 0)


def test_the_memory_of_all_gpus_is_asked_and_each_keeps_its_part(
    machine: FakeMachine, hub: FakeHub, monkeypatch
):
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(model, "check_gpu_memory", lambda _, free, memory: seen.append(free))
    machine.run.answers = {"nvidia-smi": Result(0, "NVIDIA L4, 580.95.05, 23034, 8.9\n" * 2)}
    servers = [{**SERVERS[0], "context_tokens_total": None, "slots": None, "kv_type": None}]
    config = machine.config(servers=servers, gpus={**ONE_L4, "count": 2})
    run(config, machine.world, IMPATIENT)
    assert seen == [(L4_BYTES, L4_BYTES)]


@pytest.mark.parametrize(
    "answer", [Result(127), Result(9), Result(6), Result(0, "NVIDIA GB10, 580.95, [N/A], 12.1\n")]
)
def test_gpus_that_do_not_answer_are_left_to_their_own_stage(
    machine: FakeMachine, hub: FakeHub, answer: Result
):
    machine.run.answers = {"nvidia-smi": answer}
    servers = [{**SERVERS[0], "context_tokens_total": None, "slots": None, "kv_type": None}]
    config = machine.config(servers=servers, gpus=ONE_L4)
    assert run(config, machine.world, IMPATIENT) == "owner/repo:file.gguf for chat"


# whole repositories


def test_a_server_of_a_whole_repository_is_told_its_folder(machine: FakeMachine, hub: FakeHub):
    hub.put("owner/whole", {"config.json": b"{}", "model.safetensors": CONTENT})
    config = configured(machine, model="owner/whole", snapshot=True)
    assert run(config, machine.world, IMPATIENT) == "owner/whole for chat"
    folder = Path(machine.paths.server("chat").read_text().split('"')[1])
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert (folder / "config.json").read_bytes() == b"{}"
    assert folder.is_relative_to(machine.paths.data / "models")


def test_a_repository_that_the_hub_does_not_have_is_permanent(machine: FakeMachine, hub: FakeHub):
    error = failure(machine, configured(machine, model="owner/none", snapshot=True))
    assert isinstance(error, Permanent)


def test_what_is_no_repository_is_permanent_where_a_whole_one_is_needed(machine: FakeMachine):
    config = configured(machine, model="https://example.org/m.gguf", snapshot=True)
    error = failure(machine, config)
    assert isinstance(error, Permanent)
    assert "set model to OWNER/REPO" in error.message


# engines that pull by themselves


def pulling(machine: FakeMachine) -> Config:
    machine.put(machine.paths.engine("llama-wheel") / STAMP, "")
    return configured(machine, pull=["{venv}/bin/python", "-m", "tool", "pull", "owner/repo"])


def test_an_engine_pulls_by_its_own_command_as_an_unprivileged_user(machine: FakeMachine):
    file = machine.put(machine.paths.hub / "snapshots" / "x.gguf", CONTENT)
    machine.run.answers = {"pull": Result(0, f"downloading\n{file}\n")}
    run(pulling(machine), machine.world)
    (command,) = machine.run.commands
    assert command.words[0] == f"{machine.paths.engine('llama-wheel')}/bin/python"
    assert command.environment["HF_HOME"] == str(machine.paths.hub)
    assert command.user == "nobody"
    text = machine.paths.server("chat").read_text()
    assert text == f'LLM_ENDPOINT_MODEL="{file}"\n'


@pytest.mark.parametrize(
    ("code", "kind"), [(75, Temporary), (78, Permanent), (1, Temporary), (-9, Temporary)]
)
def test_an_engine_says_whether_its_failure_lasts(
    machine: FakeMachine, code: int, kind: type[StageError]
):
    machine.run.answers = {"pull": Result(code, "", "trace\nno such file\n")}
    error = failure(machine, pulling(machine))
    assert isinstance(error, kind)
    assert "no such file" in error.message


def test_an_engine_that_is_not_installed_yet_pulls_later(machine: FakeMachine):
    config = pulling(machine)
    (machine.paths.engine("llama-wheel") / STAMP).unlink()
    assert isinstance(failure(machine, config), Temporary)
    assert machine.run.commands == []


def test_an_engine_that_names_no_file_has_not_pulled(machine: FakeMachine):
    machine.run.answers = {"pull": Result(0, "\n")}
    assert "said nothing" in failure(machine, pulling(machine)).message
    machine.run.answers = {"pull": Result(0, "/no/such/file\n")}
    assert "/no/such/file is no file" in failure(machine, pulling(machine)).message


def test_what_an_engine_pulled_is_reckoned_too(machine: FakeMachine):
    file = machine.put(machine.paths.hub / "x.gguf", CONTENT)
    reckoned = {"context_tokens_total": 4096, "slots": 1, "kv_type": "f16", "pull": ["tool"]}
    machine.put(machine.paths.engine("llama-wheel") / STAMP, "")
    machine.run.answers = {"tool": Result(0, f"{file}\n")}
    error = failure(machine, configured(machine, **reckoned))
    assert "can't be reckoned with" in error.message
