"""What the engine's event log says of a preview (`pulumi preview --event-log FILE`).

One JSON object a line, `{"sequence": …, KIND: {…}}`: sdk/go/common/apitype/events.go of pulumi.
Only the standard library: it is read where nothing else is installed, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from scripts.changes import values
from scripts.changes.billing import read as read_billing
from scripts.changes.model import (
    ABSENT,
    Billing,
    Change,
    Diagnostic,
    Drift,
    Kind,
    Preview,
    Property,
    Violation,
)

_STACK = "pulumi:pulumi:Stack"
_DEFAULT_PROVIDER = re.compile(r"pulumi:providers:[^:]+::default(_|$)")

_KINDS: Mapping[str, Kind] = {
    "create": "create",
    "update": "update",
    "delete": "delete",
    "discard": "delete",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "discard-replaced": "replace",
    "read-replacement": "replace",
    "import-replacement": "replace",
    "remove-pending-replace": "replace",
    "import": "import",
    "read": "read",
}
"""The engine's operations; a replacement is several of them, and one change."""
_COLOUR = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")
_MANDATORY = "mandatory"


@dataclass
class _Step:
    """What the log says of one resource, gathered from several events."""

    kind: Kind
    old: object = None
    new: object = None
    why: tuple[str, ...] = ()
    detailed: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass
class _Found:
    """What was gathered from the log so far, by URN."""

    steps: dict[str, _Step] = field(default_factory=dict[str, _Step])
    same: set[str] = field(default_factory=set[str])
    refreshing: set[str] = field(default_factory=set[str])
    drift: dict[str, Drift] = field(default_factory=dict[str, Drift])
    violations: dict[Violation, None] = field(default_factory=dict[Violation, None])
    diagnostics: dict[Diagnostic, None] = field(default_factory=dict[Diagnostic, None])
    outputs: tuple[object, object] = (None, None)

    def step(self, about: Mapping[str, object], *, done: bool) -> None:
        """Take up a step that begins, or that is done."""
        urn, operation = str(about.get("urn", "")), str(about.get("op", ""))
        if operation == "refresh" and not done:
            self.refreshing.add(urn)
        elif urn in self.refreshing and done:
            # What a refresh came to is told as an update or a deletion where it is one.
            self.refreshing.discard(urn)
            if operation in ("update", "delete"):
                self.drift[urn] = _drift(urn, about, gone=operation == "delete")
        elif urn.split("::")[2:3] == [_STACK]:
            if done:
                self.outputs = (about.get("old"), about.get("new"))
        elif operation == "same" and not _DEFAULT_PROVIDER.search(urn):
            self.same.add(urn)
        elif operation in _KINDS and not _DEFAULT_PROVIDER.search(urn):
            _gather(self.steps, urn, _KINDS[operation], about)


def read(lines: Iterable[str], stack: str, *, failed: bool) -> Preview:
    """Return the preview that the log's `lines` tell; `failed`: pulumi's exit status was not 0.

    A last line that was cut off is left out. What is secret is hidden by its signature.
    """
    found = _Found()
    for kind, event in _events(lines):
        if kind in ("resourcePreEvent", "resOutputsEvent"):
            found.step(values.entries(event.get("metadata")), done=kind == "resOutputsEvent")
        elif kind == "policyEvent":
            found.violations[_violation(event)] = None
        elif kind in ("diagnosticEvent", "errorEvent"):
            said = _diagnostic(event)
            if said is not None:
                found.diagnostics[said] = None
    before, after = (values.entries(one).get("outputs") for one in found.outputs)
    broken = failed and not any(one.mandatory for one in found.violations)
    if broken:
        # A program that has not come to its end has returned no outputs.
        before = after = None
    return Preview(
        stack=stack,
        changes=tuple(_change(urn, step) for urn, step in found.steps.items()),
        unchanged=len(found.same - found.steps.keys()),
        outputs=_outputs(before, after),
        drift=tuple(found.drift.values()),
        violations=tuple(found.violations),
        diagnostics=tuple(
            # Of a preview that a policy refuses the engine says no more than this.
            said
            for said in found.diagnostics
            if broken or said.message != "preview failed"
        ),
        billing=_billing(before, after),
        failed=broken,
    )


def _events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, object]]]:
    for line in lines:
        try:
            event: object = json.loads(line)
        except ValueError:
            continue
        for kind, body in values.entries(event).items():
            if kind not in ("sequence", "timestamp"):
                yield kind, values.entries(body)


def _gather(steps: dict[str, _Step], urn: str, kind: Kind, about: Mapping[str, object]) -> None:
    step = steps.setdefault(urn, _Step(kind))
    # What is deleted to be made again says `delete-replaced` alone in one of its steps.
    step.kind = "replace" if "replace" in (step.kind, kind) else kind
    step.old = step.old or about.get("old")
    step.new = step.new or about.get("new")
    step.why = step.why or tuple(str(key) for key in values.items(about.get("keys")))
    step.detailed = step.detailed or values.entries(about.get("detailedDiff"))


def _change(urn: str, step: _Step) -> Change:
    old, new = values.entries(step.old), values.entries(step.new)
    token, name = _named(urn)
    kind: Kind = step.kind
    if kind == "replace" and not new:
        # A replacement whose second half an earlier up did not come to.
        kind = "delete"
    properties = _properties(old, new, step) if kind != "delete" else ()
    if kind in ("update", "replace") and bool(old.get("protect")) != bool(new.get("protect")):
        guarded = Property("(protect)", bool(old.get("protect")), bool(new.get("protect")))
        properties = (*properties, guarded)
    return Change(
        kind=kind,
        token=token,
        name=name,
        properties=properties,
        why=step.why if kind == "replace" else (),
        protected=kind in ("delete", "replace") and old.get("protect") is True,
    )


def _properties(
    old: Mapping[str, object], new: Mapping[str, object], step: _Step
) -> tuple[Property, ...]:
    before, after = values.entries(old.get("inputs")), values.entries(new.get("inputs"))
    if step.kind == "create":
        return tuple(values.differences({}, after))
    if not step.detailed:
        found = values.differences(before, after)
        return tuple(
            Property(one.path, one.before, one.after, values.top(one.path) in step.why)
            for one in found
        )
    return tuple(
        _detailed(path, values.entries(said), old, after)
        for path, said in sorted(step.detailed.items())
    )


def _detailed(
    path: str, said: Mapping[str, object], old: Mapping[str, object], after: object
) -> Property:
    before = values.at(old.get("inputs"), path)
    if before is ABSENT:
        before = values.at(old.get("outputs"), path)
    return Property(
        path, before, values.at(after, path), str(said.get("diffKind")).endswith("-replace")
    )


def _drift(urn: str, about: Mapping[str, object], *, gone: bool) -> Drift:
    token, name = _named(urn)
    old, new = (values.entries(about.get(side)).get("outputs") for side in ("old", "new"))
    found = () if gone else tuple(values.differences(old or {}, new or {}))
    return Drift(token, name, gone, found)


def _outputs(before: object, after: object) -> tuple[Property, ...]:
    """Return the outputs that come, go or are known to change."""
    if after is None:
        return ()
    olds, news = values.entries(before), values.entries(after)
    found: list[Property] = []
    for name in sorted({*olds, *news} - {"billing"}):
        old, new = olds.get(name, ABSENT), news.get(name, ABSENT)
        if old is not ABSENT and values.is_unknown(new):
            continue
        found += values.differences(old, new, name)
    return tuple(found)


def _billing(before: object, after: object) -> Billing | None:
    """Return what bills where the outputs say it already; None where that is unknown."""
    old = values.entries(before).get("billing")
    news = read_billing(values.entries(after).get("billing"))
    return None if news is None else Billing(news, read_billing(old), mocked=False)


def _violation(event: Mapping[str, object]) -> Violation:
    urn = str(event.get("resourceUrn") or "")
    return Violation(
        policy=str(event.get("policyName", "")),
        mandatory=event.get("enforcementLevel") == _MANDATORY,
        resource="" if urn.split("::")[2:3] == [_STACK] else urn.rsplit("::", 1)[-1],
        # The policy's description, and below it what it says of this resource.
        message=": ".join(line for line in _text(event.get("message")).splitlines() if line),
    )


def _diagnostic(event: Mapping[str, object]) -> Diagnostic | None:
    said = str(event.get("severity", "error"))
    severity: Literal["error", "warning"] | None = None
    if said in ("error", "info#err"):
        severity = "error" if said == "error" else "warning"
    elif said == "warning":
        severity = "warning"
    message = _text(event.get("message", event.get("error")))
    if severity is None or not message or event.get("ephemeral") is True:
        return None
    urn = str(event.get("urn") or "")
    of_stack = urn.split("::")[2:3] == [_STACK]
    return Diagnostic(severity, "" if of_stack else urn.rsplit("::", 1)[-1], message)


def _text(value: object) -> str:
    return _COLOUR.sub("", str(value or "")).strip()


def _named(urn: str) -> tuple[str, str]:
    """Return the type, without those of its parents, and the name in a URN."""
    parts = urn.split("::")
    token = parts[2].rpartition("$")[2] if len(parts) > 3 else ""
    return token, parts[-1]
