"""Something stops what bills by the hour when nobody uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import cast

from policy.resources import UNKNOWN, NotKnownError, Resource, at, each, pairs, text, texts
from policy.rule import AnyRule, Options, Rule, StackRule, Violation
from policy.rules.machines import is_machine, machine_settings
from policy.rules.node_pools import POOL_LABEL, has_default_pool
from policy.rules.pods import pod_specs
from policy.rules.ranges import EXCEPTION

PARK = "LLM_ENDPOINT_PARK", "LLM_ENDPOINT_PARK_RUNTIME"
"""What jobs that park are told in: whom they scale to nothing, after how many minutes."""
SCALE = "LLM_ENDPOINT_SCALE"
"""What the command that scales is told in: how many of whom there are to be."""
SCHEDULE = "schedule"
_SAY_NOTHING_OF_NODES = "metadata", "containers", "initContainers", "volumes"
_DO_NOT_SERVE = ("CronJob", "Job", "ServingRuntime")


def _stops_by_itself(resource: Resource, options: Options) -> Iterator[Violation]:
    if is_machine(resource):
        # A schedule is attached to the machine once it is there.
        scheduled = "stop" in text(options, SCHEDULE)
        if not scheduled and not _has_stop(resource):
            untold = "" if SCHEDULE in options else ", of which the pack was not told here"
            yield Violation(
                resource,
                "machine",
                f"nothing stops {resource.name}: scripts/pulumi config set idle_minutes 60 (or "
                f"max_run_hours, or a schedule with a stop{untold}), {EXCEPTION}",
            )
    elif resource.is_of("gcp", "NodePool"):
        yield from _pool(resource)
    elif resource.is_of("gcp", "Cluster") and has_default_pool(resource):
        yield Violation(
            resource,
            "default-pool",
            f"the nodes that {resource.name} is made with stay: removeDefaultNodePool, and "
            "pools of its own (NodePool)",
        )


def _has_stop(machine: Resource) -> bool:
    if at(machine.props, "scheduling", "maxRunDuration") is not None:
        return True
    settings = machine_settings(machine)
    return settings is not None and bool(at(settings, "watchdog", "idle_minutes"))


def _pool(resource: Resource) -> Iterator[Violation]:
    scaling = at(resource.props, "autoscaling")
    if scaling is None and at(resource.props, "nodeCount") == 0:
        return
    fewest = [at(scaling, key) for key in ("totalMinNodeCount", "minNodeCount")]
    most = [at(scaling, key) for key in ("totalMaxNodeCount", "maxNodeCount")]
    if scaling is None or any(fewest):
        yield Violation(
            resource,
            "fewest",
            f"the nodes of {resource.name} never go to none by themselves: a pool that serves "
            f"scales from 0 to max_nodes, {EXCEPTION}",
        )
    elif not any(most):
        yield Violation(
            resource, "most", f"the nodes of {resource.name} have no upper limit: set max_nodes"
        )


def _pods_park(resources: Sequence[Resource], _: Options) -> Iterator[Violation]:
    serving = [one for one in resources if _serves(one)]
    if not serving:
        return
    stopping = frozenset(
        name for one in resources for name in (*_parked_by(one), *_resting(one)) if name
    )
    for one in serving:
        name = text(one.props, "metadata", "name")
        if name not in stopping:
            yield Violation(
                one,
                name,
                f"nothing parks {one.name}, so that its nodes bill until somebody does: "
                "scripts/pulumi config set idle_minutes 60 (with deploy operator and kserve, which "
                f"park nothing by themselves, parked true when nobody needs it), {EXCEPTION}",
            )


def _serves(resource: Resource) -> bool:
    """Whether its pods are to run on the nodes that serve models."""
    return (
        resource.type.startswith("kubernetes:")
        and resource.kind not in _DO_NOT_SERVE
        and _asks_for_pool(resource.props.get("spec"), "spec")
    )


def _asks_for_pool(value: object, path: str) -> bool:
    if value is UNKNOWN:
        raise NotKnownError(path)
    if isinstance(value, dict):
        held = cast("dict[str, object]", value)
        if POOL_LABEL in pairs(held, "nodeSelector"):
            return True
        if held.get("key") == POOL_LABEL and held.get("operator") in ("In", "Exists"):
            return True
        return any(
            _asks_for_pool(inner, f"{path}.{name}")
            for name, inner in held.items()
            if name not in _SAY_NOTHING_OF_NODES
        )
    if isinstance(value, list):
        return any(_asks_for_pool(inner, path) for inner in cast("list[object]", value))
    return False


def _parked_by(resource: Resource) -> Iterator[str]:
    """Yield the names of what the job `resource` parks."""
    if not resource.is_of("kubernetes", "CronJob") or at(resource.props, "spec", "suspend") is True:
        return
    for spec in pod_specs(resource):
        for container in each(spec, "containers"):
            for variable in each(container, "env"):
                if text(variable, "name") in PARK:
                    told: object = json.loads(text(variable, "value"))
                    if at(told, "idle_minutes"):
                        yield from (*texts(told, "servers"), text(told, "runtime"))


def _resting(resource: Resource) -> Iterator[str]:
    """Yield the names of what the command `resource` has scaled to nothing: it is parked."""
    if resource.is_of("command", "Command"):
        written = text(resource.props, "environment", SCALE)
        wanted: object = json.loads(written) if written else {}
        for name in pairs(wanted):
            if at(wanted, name, "replicas") == 0:
                yield name


RULE = Rule(
    "spending-stop",
    "A machine stops by itself, and nodes that serve go to none",
    "mandatory",
    _stops_by_itself,
    {SCHEDULE: {"type": "string"}},
)
RULES: tuple[AnyRule, ...] = (
    RULE,
    StackRule(
        "idle-pods-park",
        "What serves in a cluster parks once nobody asks, so that its nodes go",
        "mandatory",
        _pods_park,
    ),
)
