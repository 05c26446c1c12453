"""How llama.cpp is set up, from the machine type alone."""

import pytest

from components.catalogue.gcp import find_machine_type
from components.sizing.machine_tuning import KV_ELEMENTS_A_TOKEN, tuning
from components.sizing.memory_fit import KV_TYPE_BYTES

GB = 10**9


@pytest.mark.parametrize(
    ("name", "threads", "slots"),
    [
        ("e2-standard-2", 1, 1),
        ("e2-standard-4", 2, 1),
        ("e2-standard-16", 8, 4),
        ("t2d-standard-16", 16, 8),
        ("c3-standard-176", 88, 8),
    ],
)
def test_threads_are_the_physical_cores_and_slots_follow_them(name, threads, slots):
    found = tuning(find_machine_type(name), 4 * GB)
    assert (found.threads, found.slots) == (threads, slots)


@pytest.mark.parametrize(
    "name", ["e2-standard-4", "e2-standard-8", "n2-highmem-8", "c3-highcpu-22"]
)
@pytest.mark.parametrize("weights", [1 * GB, 5 * GB, 9 * GB])
def test_caches_take_at_most_half_of_what_the_weights_leave(name: str, weights: int):
    machine = find_machine_type(name)
    assert machine is not None
    found = tuning(machine, weights)
    token = KV_ELEMENTS_A_TOKEN * KV_TYPE_BYTES[found.kv_type]
    caches = found.context_tokens * found.slots * token
    assert caches <= (machine.memory_bytes - weights) / 2 or found.context_tokens == 2048


def test_where_the_weights_take_most_of_the_memory_the_cache_is_quantised():
    machine = find_machine_type("n2-standard-16")
    assert tuning(machine, 20 * GB).kv_type == "f16"
    tight = tuning(machine, 43 * GB)
    assert (tight.kv_type, tight.flash_attention) == ("q8_0", "on")
    without = tuning(machine, 43 * GB, flash_attention="off")
    assert (without.kv_type, without.flash_attention) == ("f16", "off")


def test_what_a_person_chooses_stays_and_the_rest_follows_it():
    machine = find_machine_type("e2-standard-16")
    many = tuning(machine, 5 * GB, slots=64, threads=3, flash_attention="off")
    assert (many.slots, many.threads, many.flash_attention) == (64, 3, "off")
    assert many.context_tokens < tuning(machine, 5 * GB).context_tokens
    assert tuning(machine, 5 * GB, context_tokens=777).context_tokens == 777
    assert tuning(machine, 5 * GB, kv_type="q4_0").flash_attention == "on"


def test_few_cores_take_a_prompt_in_small_steps():
    assert tuning(find_machine_type("e2-standard-4"), GB).micro_batch_tokens == 128
    assert tuning(find_machine_type("e2-standard-16"), GB).micro_batch_tokens == 512


def test_of_an_unknown_machine_nothing_is_assumed():
    found = tuning(None, None)
    assert found.threads is None
    assert (found.context_tokens, found.slots, found.kv_type) == (4096, 4, "f16")
