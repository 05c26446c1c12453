"""GitHub's API: pages, patience, and a token that goes nowhere else."""

from collections.abc import Iterator

import pytest
from fake_github import REPOSITORY, TOKEN, FakeGitHub

from scripts.ci.github_api import GitHub, GitHubError, from_environment, own


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        yield fake


def client(fake: FakeGitHub) -> tuple[GitHub, list[float]]:
    pauses: list[float] = []
    return GitHub(fake.url, REPOSITORY, TOKEN, pause=pauses.append), pauses


def test_every_page_of_a_list_is_read(github: FakeGitHub):
    for at in range(250):
        github.has_comment(5, f"comment {at}")
    found = list(client(github)[0].every("issues/5/comments"))
    assert [one["body"] for one in found] == [f"comment {at}" for at in range(250)]
    assert len(github.asked) == 3


def test_a_busy_api_is_asked_again(github: FakeGitHub):
    github.faults = [502, 429]
    api, pauses = client(github)
    assert list(api.every("issues")) == []
    assert len(pauses) == 2


def test_a_busy_api_is_given_up_in_the_end(github: FakeGitHub):
    github.faults = [503] * 9
    api, pauses = client(github)
    with pytest.raises(GitHubError, match="GET issues: HTTP 503: the fault 503"):
        list(api.every("issues"))
    assert len(pauses) == 3


def test_a_post_that_may_have_done_its_work_is_not_sent_again(github: FakeGitHub):
    github.faults = [502]
    with pytest.raises(GitHubError, match="HTTP 502"):
        client(github)[0].send("POST", "issues", {"title": "t", "body": "b"})
    assert len(github.asked) == 1


def test_a_post_that_came_too_fast_is_sent_again(github: FakeGitHub):
    github.faults = [429]
    client(github)[0].send("POST", "issues", {"title": "t", "body": "b"})
    assert len(github.issues) == 1


def test_a_redirect_is_not_followed_with_the_token(github: FakeGitHub):
    github.faults = [307]
    with pytest.raises(GitHubError, match="HTTP 307"):
        client(github)[0].send("GET", "issues")


def test_a_refusal_says_github_s_words_and_never_the_token(github: FakeGitHub):
    github.faults = [403]
    with pytest.raises(GitHubError) as refused:
        client(github)[0].send("GET", "issues")
    assert str(refused.value) == "GET issues: HTTP 403: the fault 403"
    assert TOKEN not in repr(client(github)[0])


def test_no_answer_is_an_error_that_names_no_token():
    api = GitHub("http://127.0.0.1:9", REPOSITORY, TOKEN, pause=lambda _: None)
    with pytest.raises(GitHubError, match=r"GET issues: no answer \(URLError\)"):
        api.send("GET", "issues")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("GITHUB_API_URL", "http://api.example.org", "https"),
        ("GITHUB_REPOSITORY", "../x", "OWNER/NAME"),
        ("GH_TOKEN", "", "github.token"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variable: str, value: str, said: str):
    environment = {"GITHUB_REPOSITORY": REPOSITORY, "GH_TOKEN": TOKEN, variable: value}
    with pytest.raises(GitHubError, match=said) as wrong:
        from_environment(environment)
    assert variable in str(wrong.value)


def test_only_what_a_workflow_wrote_under_the_marker_is_ours():
    bot = {"login": "github-actions[bot]"}
    theirs = {"id": 1, "user": {"login": "eve"}, "body": "<!-- m -->"}
    other = {"id": 2, "user": bot, "body": "quoted: <!-- m -->"}
    pull = {"id": 3, "user": bot, "body": "<!-- m -->", "pull_request": {}}
    gone = {"id": 4, "user": None, "body": None}
    ours = {"id": 5, "user": bot, "body": "<!-- m --> and more"}
    assert own(iter([theirs, other, pull, gone, ours]), "<!-- m -->") is ours
    assert own(iter([theirs, other, pull, gone]), "<!-- m -->") is None
