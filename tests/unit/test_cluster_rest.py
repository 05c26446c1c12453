"""`scripts.gke.rest`: what has disks gets no pods while those change."""

import pytest
from fake_cluster import NAMESPACE, FakeCluster

from components.rendering.process import Variable
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.rest import RestError, main, parse, rest

SERVER = f"/apis/intel.com/v1alpha1/namespaces/{NAMESPACE}/modelservers/chat/scale"
ABSENT = SERVER.replace("chat", "models")


def patches(cluster: FakeCluster) -> list[tuple[str, object]]:
    return [(path, body) for method, path, body in cluster.asked if method == "PATCH"]


def test_a_server_that_runs_is_scaled_to_none_and_one_that_is_not_there_is_let_be():
    with FakeCluster(objects={SERVER: {"spec": {"replicas": 1}}}) as cluster:
        rest(ClusterApi(cluster.access, cluster.environment), NAMESPACE, ["models", "chat"])
    assert patches(cluster) == [(SERVER, {"spec": {"replicas": 0}})]
    assert ABSENT in [path for _, path, _ in cluster.asked]


@pytest.mark.parametrize("spec", [{}, {"replicas": 0}])
def test_a_server_at_rest_is_not_touched(spec: dict[str, int]):
    with FakeCluster(objects={SERVER: {"spec": spec}}) as cluster:
        rest(ClusterApi(cluster.access, cluster.environment), NAMESPACE, ["chat"])
    assert patches(cluster) == []


def test_a_busy_api_server_is_asked_again():
    pauses: list[float] = []
    with FakeCluster(
        objects={SERVER: {"spec": {"replicas": 1}}}, refusals={SERVER: [503, 409]}
    ) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        rest(api, NAMESPACE, ["chat"], pause=pauses.append)
    assert patches(cluster)[-1] == (SERVER, {"spec": {"replicas": 0}})
    assert pauses


def test_who_may_not_scale_is_told_of_which_server():
    with FakeCluster(objects={SERVER: {}}, refusals={SERVER: [403]}) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        with pytest.raises(ClusterError, match="ModelServer chat"):
            rest(api, NAMESPACE, ["chat"])


def test_another_kind_is_scaled_by_its_own_path():
    runtime = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/colab-runtime/scale"
    with FakeCluster(objects={runtime: {"spec": {"replicas": 1}}}) as cluster:
        api = ClusterApi(cluster.access, cluster.environment)
        rest(api, NAMESPACE, parse('["Deployment/colab-runtime"]'))
    assert patches(cluster) == [(runtime, {"spec": {"replicas": 0}})]


@pytest.mark.parametrize("text", ["", "{}", '"chat"', "[1]", '["Pod/chat"]', '["/chat"]'])
def test_what_is_no_list_of_names_is_refused(text: str):
    with pytest.raises(RestError, match="LLM_ENDPOINT_REST"):
        parse(text)


def test_the_output_is_the_names(capsys: pytest.CaptureFixture[str]):
    with FakeCluster(objects={SERVER: {"spec": {"replicas": 1}}}) as cluster:
        given = {Variable.NAMESPACE: NAMESPACE, Variable.REST: '["chat"]'}
        assert main({**cluster.environment, **given}) == 0
    assert capsys.readouterr().out == '["chat"]\n'


def test_a_namespace_is_needed(capsys: pytest.CaptureFixture[str]):
    with FakeCluster() as cluster:
        environment = {**cluster.environment, Variable.REST: "[]", Variable.NAMESPACE: ""}
        assert main(environment) == 1
    assert "LLM_ENDPOINT_NAMESPACE" in capsys.readouterr().err
