"""Every key of the programs without machines of ours changes something that is seen.

Those of machines and clusters are in `test_keys_of_vms.py` and `test_keys_of_gke.py`. A new key
needs a row, and a new program its rows.
"""

from pathlib import Path

import pytest
import test_keys_of_gke
import test_keys_of_vms
from key_rows import Row, check, keys_of

from components.settings import ConfigurationError
from components.settings.secrets import ENCRYPTED
from stacks import PROGRAMS, choose

S3 = {
    "registry": "s3://models?endpoint=https://s3.example.org",
    "registry_key_id": "an-id",
    "registry_secret_key": ENCRYPTED,
}

ROWS = {
    "local": {
        "context_tokens": Row("2048", "Command"),
        "embeddings_model": Row("builtin:stand-in", "Command", {"model": "builtin:stand-in"}),
        "engine": Row("vllm", refused="llama_cpp"),
        "engine_flags": Row("--no-warmup", "Command"),
        "keys": Row("default alice", "Command"),
        "llama_server": Row("native", "Command"),
        "min_tokens_per_second": Row("5", "Command"),
        "model": Row("builtin:stand-in", "Command"),
        "parked": Row("true", "Command"),
        "port": Row("9000", "Command"),
        "ready_minutes": Row("20", "Command"),
        "slots": Row("2", "Command"),
        "verify_streams": Row("5", "Command"),
    },
    "model-registry": {
        "bucket_name": Row("their-models", "Bucket"),
        "gcp:project": Row("other-project", "Bucket"),
        "gcp:region": Row("us-central1", "Bucket"),
        "keep_data": Row("true", "Bucket"),
        "labels": Row("team=research", "Bucket"),
        "registry": Row("s3://models?endpoint=https://s3.example.org", "S3Bucket"),
        "registry_key_id": Row("another-id", "Command", S3),
        "registry_secret_key": Row(type(ENCRYPTED)("another-key"), "Command", S3),
        "uploads": Row("", "Command"),
    },
    "ci": {
        "branch": Row("trunk", "WorkloadIdentityPoolProvider"),
        "bucket_name": Row("our-states", "Bucket"),
        "environment": Row("live", "WorkloadIdentityPoolProvider"),
        "gcp:project": Row("other-project", "Bucket"),
        "gcp:region": Row("us-central1", "Bucket"),
        "generation": Row("2", "WorkloadIdentityPool"),
        "github_owner_id": Row("77", "WorkloadIdentityPoolProvider"),
        "github_repository": Row("their-team/other", "outputs"),
        "github_repository_id": Row("88", "WorkloadIdentityPoolProvider"),
        "keep_data": Row("false", "Bucket"),
        "labels": Row("team=research", "Bucket"),
        "stacks": Row("cpu-vm", "IAMMember"),
    },
}
ELSEWHERE = {**test_keys_of_vms.ROWS, **test_keys_of_gke.ROWS}


def test_every_program_has_rows():
    assert {*ROWS, *ELSEWHERE} == {*PROGRAMS}


@pytest.mark.parametrize("program", ROWS)
def test_every_key_has_a_row(program: str):
    assert ROWS[program].keys() == keys_of(program) - {"program"}


@pytest.mark.parametrize(
    ("program", "key"), [(program, key) for program, rows in ROWS.items() for key in rows]
)
def test_a_key_changes_what_is_registered(program: str, key: str, tmp_path: Path):
    row = ROWS[program][key]
    if key == "uploads":
        (tmp_path / "model.onnx").write_bytes(b"weights")
        row = Row(f"mine@1={tmp_path}", row.seen)
    check(program, key, row)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_key_program_decides_for_a_stack_of_another_name(program: str):
    assert "program" in keys_of(program)
    with pytest.raises(ConfigurationError, match="program is not set"):
        choose({}, "mine")
    assert choose({"program": program}, "mine").name == program
