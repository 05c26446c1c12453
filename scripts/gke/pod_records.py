"""The stages of a namespace's pods, as records of what has come least far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts.gke.pods import GATEWAY, IMAGE, NODE, PACKAGES, SERVERS, Course, Events, Pod, Step
from scripts.verify.boot_log import StageRecord
from scripts.verify.shape import excerpt

_MESSAGE = 260


def refused_pods(events: Events) -> Step | None:
    """Return why no pod can be made of what is asked for; None where nothing says so.

    What Pod Security refuses stays refused; a quota may have room again.
    """
    for (kind, name), several in events.items():
        if kind not in ("StatefulSet", "ReplicaSet", "Deployment"):
            continue
        newest = several[-1]
        if newest.reason == "FailedCreate":
            for_ever = "violates PodSecurity" in newest.message
            return Step(
                NODE,
                "failed" if for_ever else "retrying",
                f"no pod of {name} can be made: {excerpt(newest.message, _MESSAGE)}",
            )
    return None


def records(steps: Iterable[tuple[Pod, Step]], course: Course = SERVERS) -> list[StageRecord]:
    """Return one record a stage: what the pods that have come least far are at.

    A stage that every pod has behind it is done. Pods are named where there are several.
    """
    every = list(steps)
    servers = [pair for pair in every if not pair[0].is_gateway]
    found: list[StageRecord] = []
    for stage in course.stages:
        asked = [pair for pair in every if pair[0].is_gateway] if stage == GATEWAY else servers
        if stage == PACKAGES:
            asked = [pair for pair in every if pair[1].stage == PACKAGES]
        record = _record(stage, asked, course.stages)
        if record is not None:
            found.append(record)
    # The gateway's own way to its node and its image is told where it is stuck there.
    for pod, step in every:
        if pod.is_gateway and step.stage in (NODE, IMAGE):
            found = [one for one in found if one.stage != GATEWAY]
            found.append(StageRecord(GATEWAY, step.state, f"{step.stage}: {step.message}"))
    return found


def _record(
    stage: str, asked: Sequence[tuple[Pod, Step]], stages: Sequence[str]
) -> StageRecord | None:
    at = [pair for pair in asked if pair[1].stage == stage]
    for state in ("failed", "retrying", "running"):
        stuck = [(pod, step) for pod, step in at if step.state == state]
        if stuck:
            messages = [
                f"{pod.name}: {step.message}" if len(asked) > 1 else step.message
                for pod, step in stuck
            ]
            return StageRecord(stage, state, "; ".join(dict.fromkeys(messages)))
    reached = [stages.index(step.stage) for _, step in asked]
    if not reached or stage == PACKAGES:
        return None
    behind = all(
        at_index > stages.index(stage) or (at_index == stages.index(stage) and step.is_through)
        for at_index, (_, step) in zip(reached, asked, strict=True)
    )
    return StageRecord(stage, "done", "") if behind else None
