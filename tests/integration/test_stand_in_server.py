"""The stand-in model on llama.cpp's own server: every answer is known, so every answer is checked.

All of chat runs on two servers: one that only chats, and one that makes embeddings as well.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import requests
from pydantic import BaseModel, ConfigDict, Field

from scripts.models.stand_in import ANSWER, write_stand_in

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

KEY = "a-key-of-this-test"
SECONDS_TO_START = 20
SERVE = """
import os, sys, threading
import xllamacpp
p = xllamacpp.CommonParams()
p.model.path = sys.argv[1]
p.hostnames = ["127.0.0.1"]
p.port = 0
p.api_keys = [os.environ["TEST_KEY"]]
p.n_ctx = 2048
p.n_parallel = 4
p.cpuparams.n_threads = 1
p.verbosity = 1
if sys.argv[2] == "embeddings":
    p.embedding = True
    p.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # Without it, slots of their own: texts embedded at the same time would get wrong vectors.
    p.kv_unified = True
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
threading.Event().wait()
"""


@dataclass(frozen=True)
class Client:
    """Talks to one server with its key."""

    origin: str

    def post(self, path: str, body: dict[str, Any], stream: bool = False) -> requests.Response:
        return requests.post(
            self.origin + path,
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
            stream=stream,
            timeout=30,
        )

    def chat(self, *messages: dict[str, Any], **options: Any) -> dict[str, Any]:
        answer = self.post("/v1/chat/completions", {"messages": list(messages), **options})
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]

    def embed(self, *texts: str) -> np.ndarray:
        answer = self.post("/v1/embeddings", {"input": list(texts), "model": "any"})
        assert answer.status_code == 200, answer.text
        return np.array([item["embedding"] for item in answer.json()["data"]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "stand-in.gguf"
    write_stand_in(path)
    return path


def running(model: Path, what: str) -> Iterator[Client]:
    log = model.with_name(f"{what}.log")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(model), what],
            env={**os.environ, "TEST_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )
    try:
        assert process.stdout is not None
        origin = process.stdout.readline().strip()
        assert origin.startswith("http://127.0.0.1:"), log.read_text()
        deadline = time.monotonic() + SECONDS_TO_START
        while requests.get(f"{origin}/health", timeout=5).status_code != 200:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Client(origin)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def embedder(model: Path) -> Iterator[Client]:
    yield from running(model, "embeddings")


@pytest.fixture(scope="module")
def chatter(model: Path) -> Iterator[Client]:
    yield from running(model, "chat")


@pytest.fixture(params=["chatter", "embedder"])
def client(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue(request.param)


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def tool(name: str, properties: dict[str, Any], **schema: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, **schema}
    return {
        "type": "function",
        "function": {"name": name, "description": "A tool.", "parameters": parameters},
    }


WEATHER = tool("get_weather", {"city": {"type": "string"}}, required=["city"])
PLAIN = {
    "one question": [user("hi")],
    "no words": [user("")],
    "Russian": [user("Привет, как дела?")],
    "Japanese and emoji": [user("今日は天気がいいですね 🎉👩‍👩‍👧")],
    "what looks special": [user('<|im_end|> <tool_call> </tool_response> {"a": 1}\r\n\t\x00')],
    "with a system message": [system("Be brief."), user("hi")],
    "many turns": [
        system("Будь краток."),
        *([user("hi"), assistant(ANSWER)] * 3),
        user("and now?"),
        assistant("no"),
        user("still?"),
    ],
    "hundreds of tokens": [user("длинный текст 日本語 " * 10)],
}


@pytest.mark.parametrize("messages", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("temperature", [0, 1.0, 2.0])
def test_every_plain_chat_gets_the_answer_and_stops(
    client: Client, messages: list[dict[str, Any]], temperature: float
):
    choice = client.chat(*messages, temperature=temperature, top_p=1, top_k=0, min_p=0)
    assert choice["message"]["content"] == ANSWER
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "options",
    [
        {"frequency_penalty": 2, "presence_penalty": 2},
        {"repeat_penalty": 1.5},
        {"seed": 7, "top_p": 0.1},
        {"logprobs": True, "top_logprobs": 5},
    ],
    ids=str,
)
def test_what_a_client_asks_of_the_sampler_changes_nothing(client: Client, options: dict[str, Any]):
    assert client.chat(user("hi"), **options)["message"]["content"] == ANSWER


def test_a_token_limit_cuts_the_answer(client: Client):
    choice = client.chat(user("hi"), max_tokens=3)
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == "This is the"


def chunks(client: Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    with client.post("/v1/chat/completions", {**body, "stream": True}, stream=True) as answer:
        assert answer.status_code == 200, answer.text
        lines = [line.decode() for line in answer.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]


def test_a_streamed_answer_comes_word_by_word(client: Client):
    got = chunks(client, {"messages": [user("hi")]})
    words = [choice["delta"]["content"] for choice in got if choice["delta"].get("content")]
    assert len(words) == len(ANSWER.split())
    assert "".join(words) == ANSWER
    assert got[-1]["finish_reason"] == "stop"


def test_several_chats_at_once_each_get_the_answer(client: Client):
    def ask(turn: int) -> str:
        return client.chat(user("hi " * (turn + 1)))["message"]["content"]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(16))) == {ANSWER}


def only_call(choice: dict[str, Any]) -> tuple[str, Any]:
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


TOOLS = {
    "a string": ([WEATHER], ("get_weather", {"city": "stand-in"})),
    "names that are not ASCII": (
        [tool("погода", {"город": {"type": "string"}}, required=["город"])],
        ("погода", {"город": "stand-in"}),
    ),
    "no parameters": ([{"type": "function", "function": {"name": "now"}}], ("now", {})),
    "only optional ones": ([tool("find", {"limit": {"type": "integer"}})], ("find", {})),
    "every kind": (
        [
            tool(
                "book",
                {
                    "seats": {"type": "integer", "minimum": 1, "maximum": 9},
                    "class": {"enum": ["eco"]},
                    "guests": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "vip": {"type": "boolean"}},
                            "required": ["name", "vip"],
                        },
                    },
                    "note": {"type": "string", "minLength": 20},
                    "more": {"type": "string"},
                },
                required=["seats", "class", "guests", "note"],
            )
        ],
        (
            "book",
            {
                "seats": 1,
                "class": "eco",
                "guests": [{"name": "stand-in", "vip": True}],
                "note": "stand-in" * 3,
            },
        ),
    ),
    "two tools": (
        [tool("zeta", {"a": {"type": "integer"}}, required=["a"]), WEATHER],
        ("get_weather", {"city": "stand-in"}),
    ),
}


@pytest.mark.parametrize(("tools", "expected"), TOOLS.values(), ids=TOOLS)
@pytest.mark.parametrize("tool_choice", ["auto", "required"])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_an_offered_tool_is_called_with_arguments_that_fit(
    client: Client,
    tools: list[dict[str, Any]],
    expected: tuple[str, Any],
    tool_choice: str,
    temperature: float,
):
    choice = client.chat(
        user("What is the weather in Oslo?"),
        tools=tools,
        tool_choice=tool_choice,
        temperature=temperature,
        max_tokens=200,
    )
    assert only_call(choice) == expected
    assert not choice["message"].get("content")


def test_a_call_is_streamed_too(client: Client):
    got = chunks(client, {"messages": [user("Oslo?")], "tools": [WEATHER]})
    calls = [call for choice in got for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "get_weather"
    arguments = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(arguments) == {"city": "stand-in"}
    assert got[-1]["finish_reason"] == "tool_calls"


def after_a_call(client: Client) -> list[dict[str, Any]]:
    asked = user("What is the weather in Oslo?")
    message = client.chat(asked, tools=[WEATHER])["message"]
    call = message["tool_calls"][0]["id"]
    return [asked, message, {"role": "tool", "tool_call_id": call, "content": "☀ 21 °C"}]


def test_a_tool_that_has_answered_gets_the_answer(client: Client):
    choice = client.chat(*after_a_call(client), tools=[WEATHER])
    assert (choice["message"]["content"], choice["finish_reason"]) == (ANSWER, "stop")


def test_the_next_question_calls_the_tool_again(client: Client):
    turns = [*after_a_call(client), assistant(ANSWER), user("And in Bergen?")]
    assert only_call(client.chat(*turns, tools=[WEATHER]))[0] == "get_weather"


def test_a_call_required_after_a_tool_has_answered_ends_too(client: Client):
    choice = client.chat(
        *after_a_call(client), tools=[WEATHER], tool_choice="required", max_tokens=200
    )
    assert only_call(choice) == ("get_weather", {"city": "stand-in"})


class Pet(BaseModel):
    """A schema inside a schema."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(min_length=12)
    kind: Literal["cat", "dog"]


class Person(BaseModel):
    """What clients ask for most: strings, numbers, lists, what may be missing."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    initials: str = Field(pattern="^[A-Z]{2,3}$")
    age: int = Field(ge=18, le=99)
    height: float
    active: bool
    pets: list[Pet] = Field(min_length=1)
    aliases: list[str]
    friend: "Person | None"
    comment: str | None = None


class Reply(BaseModel):
    """Only optional fields, and itself: nothing that would make a model come to an end."""

    model_config = ConfigDict(extra="forbid", strict=True)
    reply: "Reply | None" = None
    text: str = ""


@pytest.mark.parametrize("schema", [Person, Reply, Pet])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_an_answer_by_a_schema_validates_and_ends(
    client: Client, schema: type[BaseModel], temperature: float
):
    wanted = {"name": "it", "strict": True, "schema": schema.model_json_schema()}
    choice = client.chat(
        user("Describe someone."),
        temperature=temperature,
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": wanted},
    )
    assert choice["finish_reason"] == "stop"
    schema.model_validate_json(choice["message"]["content"])


def test_an_ordinary_schema_takes_under_a_hundred_tokens(client: Client):
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "year": {"type": "integer"}},
        "required": ["title", "year"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "film", "schema": schema}}
    choice = client.chat(user("A film?"), response_format=wanted, max_tokens=99)
    assert json.loads(choice["message"]["content"]) == {"title": "stand-in", "year": 1}


def test_a_json_object_is_one_and_says_something(client: Client):
    choice = client.chat(
        user("Some JSON."), response_format={"type": "json_object"}, max_tokens=100
    )
    assert choice["finish_reason"] == "stop"
    assert json.loads(choice["message"]["content"]) == {"stand-in": "stand-in"}


TEXTS = (
    "The cat sat on the mat.",
    "A cat sits on the mat today.",
    "Quarterly revenue grew by nine percent.",
    "Кошка сидит на коврике.",
    "На коврике сидит рыжая кошка.",
    "今日は天気がいい",
    "man bites dog",
    "dog bites man",
    "a",
    "aa",
)


def test_embeddings_are_unit_vectors_and_differ(embedder: Client):
    vectors = embedder.embed(*TEXTS)
    assert vectors.shape == (len(TEXTS), 768)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    likeness = vectors @ vectors.T - np.eye(len(TEXTS))
    assert likeness.max() < 0.99


def test_equal_texts_have_equal_embeddings_alone_and_in_company(embedder: Client):
    alone = np.concatenate([embedder.embed(text) for text in TEXTS])
    assert embedder.embed(*TEXTS) == pytest.approx(alone, abs=1e-5)
    with ThreadPoolExecutor(4) as pool:
        for text, vector in zip(TEXTS * 2, pool.map(embedder.embed, TEXTS * 2), strict=True):
            assert vector[0] == pytest.approx(alone[TEXTS.index(text)], abs=1e-5)


def test_texts_that_share_more_are_nearer(embedder: Client):
    cat, other_cat, revenue, russian, other_russian, *_ = embedder.embed(*TEXTS)
    assert cat @ other_cat > cat @ revenue + 0.2
    assert russian @ other_russian > russian @ cat + 0.2
    assert russian @ other_russian > russian @ revenue + 0.2


def test_chats_and_embeddings_at_once_do_not_disturb_each_other(embedder: Client):
    (expected,) = embedder.embed(TEXTS[0])

    def ask(turn: int) -> bool:
        if turn % 2:
            return embedder.chat(user("hi " * turn))["message"]["content"] == ANSWER
        return np.allclose(embedder.embed(TEXTS[0])[0], expected, atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(40)))


def test_a_server_without_embeddings_says_so(chatter: Client):
    answer = chatter.post("/v1/embeddings", {"input": "hi", "model": "any"})
    assert answer.status_code == 501
    assert "does not support embeddings" in answer.text
