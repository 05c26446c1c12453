"""A preview as Markdown, for a pull request's comment: what loses something comes first."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import chain

from scripts.changes import shown
from scripts.changes.model import (
    KINDS,
    Bill,
    Billing,
    Change,
    Diagnostic,
    Files,
    Kind,
    Preview,
    Violation,
)
from scripts.changes.shown import Clean, code, fenced, text

MOST_CHARACTERS = 60_000
"""A comment on GitHub takes 65,536."""
_MOST_ROWS = 150
_MOST_OPEN_CREATIONS = 12
_CREATION_LINES = 12
_ROOM_TO_CLOSE = 1000
# Characters that each part may take; what is left over is for the values and the diff.
_ROOM_FOR_POLICY = 7_000
_ROOM_FOR_MESSAGES = 6_000
_ROOM_FOR_DRIFT = 3_000
_ROOM_FOR_CHANGES = 12_000
_ROOM_FOR_CREATIONS = 6_000
_ROOM_FOR_BILLING = 5_000
_ROOM_FOR_NAMES = 4_000
_WORDS: dict[Kind, tuple[str, str]] = {
    "replace": ("to replace", "**replace**"),
    "delete": ("to delete", "**delete**"),
    "create": ("to create", "create"),
    "update": ("to update", "update"),
    "change": ("to change", "change"),
    "import": ("to import", "import"),
    "read": ("to read", "read"),
}


def marker(stack: str) -> str:
    """Return the first line of every preview of `stack`, by which it is found again."""
    return f"<!-- llm-endpoint preview {stack.replace('--', '')} -->"


def summary(preview: Preview) -> str:
    """Return in one line how many resources change, by kind."""
    counts = [
        f"{len(found)} {_WORDS[kind][0]}"
        for kind in KINDS
        if kind != "read" and (found := preview.of_kind(kind))
    ]
    stay = f"{preview.unchanged} {'stays' if preview.unchanged == 1 else 'stay'} as it is"
    if preview.unchanged != 1:
        stay = f"{preview.unchanged} stay as they are"
    if not counts and preview.failed:
        return "It told no change before it failed."
    if not counts:
        return "**Nothing to change.**" + (f" {stay}." if preview.unchanged else "")
    return f"**{', '.join(counts)}.**" + (f" {stay}." if preview.unchanged else "")


def written(preview: Preview, clean: Clean) -> str:
    """Return the preview, in no more than `MOST_CHARACTERS`; `clean` takes known secrets out.

    What is too long is cut and says so: the rendered files' diff first.
    """
    head = [
        marker(preview.stack),
        f"### {text(preview.stack)}{' · mocked' if preview.mocked else ''}",
        "",
        *_alarms(preview),
        summary(preview),
        "",
    ]
    if preview.mocked:
        head += [f"Mocked: {text(clean(preview.mocked))}", ""]
    head += [line for note in preview.notes for line in (text(clean(note)), "")]
    head += _policy(preview.violations, clean)
    head += _diagnostics(preview.diagnostics, clean)
    head += _drift(preview, clean)
    head += _table([one for one in preview.changes if one.kind not in ("create", "read")], clean)
    head += _creations(preview.of_kind("create"), clean)
    bills = _billing(preview.billing, clean)
    room = MOST_CHARACTERS - _length(head) - _length(bills) - _ROOM_TO_CLOSE
    details: list[str] = []
    for part in (_what_changes(preview, clean), _what_is_made(preview, clean)):
        if part:
            title, lines, language = part
            details += _details(title, lines, language, room - _length(details))
    files = _files(preview.files, clean, room - _length(details))
    return "\n".join([*head, *details, *bills, *files]).rstrip("\n") + "\n"


def render_diff(stack: str, files: Files, clean: Clean) -> str:
    """Return the rendered files' diff alone: all that can be told without any credentials."""
    head = [marker(stack), f"### {text(stack)} · rendered files", ""]
    room = MOST_CHARACTERS - _length(head) - _ROOM_TO_CLOSE
    return "\n".join([*head, *_files(files, clean, room)]).rstrip("\n") + "\n"


def _alarms(preview: Preview) -> list[str]:
    lines: list[str] = []
    if preview.failed:
        lines.append(
            "**The preview failed: what follows may not be all.** The cause is among the messages."
        )
    if preview.mandatory:
        count = len(preview.mandatory)
        what = "a mandatory policy" if count == 1 else f"mandatory policies, {count} times"
        lines.append(f"**The policy pack refuses this: it violates {what}.**")
    kept = [one.name for one in preview.changes if one.protected]
    if kept:
        lines.append(
            f"**`up` will refuse this: {shown.listed(kept)} must not be deleted "
            "(protected, `keep_data`).**"
        )
    return [part for line in lines for part in (line, "")]


def _policy(violations: Sequence[Violation], clean: Clean) -> list[str]:
    if not violations:
        return []
    rows = [
        f"| {'**mandatory**' if one.mandatory else 'advisory'} | {code(one.policy)} | "
        f"{code(one.resource) if one.resource else 'the stack'} | {text(clean(one.message))} |"
        for one in sorted(violations, key=lambda one: not one.mandatory)
    ]
    head = ["| | Policy | Resource | What it says |", "|---|---|---|---|"]
    return [*head, *_most(rows, "violations", _ROOM_FOR_POLICY), ""]


def _diagnostics(said: Sequence[Diagnostic], clean: Clean) -> list[str]:
    lines: list[str] = []
    for severity, title in (("error", "Errors"), ("warning", "Warnings")):
        found = [one for one in said if one.severity == severity]
        if not found:
            continue
        body: list[str] = []
        for one in found:
            words = [
                shown.cut(clean(line), shown.MESSAGE_CHARACTERS)
                for line in one.message.splitlines()
            ]
            body += [f"{one.resource}:", *words] if one.resource else words
        # The last lines of a traceback say what happened.
        kept, left = _within(body[::-1], _ROOM_FOR_MESSAGES)
        body = [*([f"… {left} lines before these"] if left else []), *kept[::-1]]
        is_open = " open" if severity == "error" else ""
        lines += [f"<details{is_open}><summary>{title} ({len(found)})</summary>", ""]
        lines += [*fenced(body, "text"), "", "</details>", ""]
    return lines


def _drift(preview: Preview, clean: Clean) -> list[str]:
    if not preview.drift:
        return []
    rows = [
        f"- {code(clean(one.name))} ({code(_short(one.token))}): "
        + ("is gone" if one.gone else shown.listed([p.path for p in one.properties]) or "changed")
        for one in preview.drift
    ]
    return [
        "Changed by others since the last `up`:",
        "",
        *_most(rows, "resources", _ROOM_FOR_DRIFT),
        "",
    ]


def _table(changes: Sequence[Change], clean: Clean) -> list[str]:
    if not changes:
        return []
    ordered = sorted(changes, key=lambda change: KINDS.index(change.kind))
    rows = [
        f"| {_WORDS[one.kind][1]} | {code(clean(one.name))} | {code(_short(one.token))} "
        f"| {_names(one)} |"
        for one in ordered
    ]
    lines = ["| | Resource | Type | What changes |", "|---|---|---|---|"]
    lines += [*_most(rows, "resources", _ROOM_FOR_CHANGES), ""]
    if any(one.causes for one in ordered):
        lines += ["Bold: what causes the replacement.", ""]
    return lines


def _names(change: Change) -> str:
    causes = change.causes
    others = [one.path for one in change.properties if one.path not in causes]
    # The engine names a cause by its first name alone where it has no details.
    others = [path for path in others if path.split(".")[0].split("[")[0] not in causes]
    return ", ".join(
        part
        for part in (f"**{shown.listed(causes)}**" * bool(causes), shown.listed(others))
        if part
    )


def _creations(created: Sequence[Change], clean: Clean) -> list[str]:
    if not created:
        return []
    rows = [
        f"| {_WORDS['create'][1]} | {code(clean(one.name))} | {code(_short(one.token))} |"
        for one in created
    ]
    lines = [
        "| | Resource | Type |",
        "|---|---|---|",
        *_most(rows, "resources", _ROOM_FOR_CREATIONS),
        "",
    ]
    if len(created) <= _MOST_OPEN_CREATIONS:
        return lines
    title = f"<details><summary>{len(created)} to create</summary>"
    return [title, "", *lines, "</details>", ""]


_Part = tuple[str, list[str], str]


def _what_changes(preview: Preview, clean: Clean) -> _Part | None:
    lines: list[str] = []
    changed = [one for one in preview.changes if one.kind not in ("create", "read")]
    for change in sorted(changed, key=lambda change: KINDS.index(change.kind)):
        if not change.properties:
            continue
        lines.append(f"@@ {change.kind}: {change.name} ({_short(change.token)}) @@")
        for one in change.properties:
            because = " (causes the replacement)" if one.replaces else ""
            lines += [f"! {one.path}{because}", *shown.difference(one, clean)]
    for drift in preview.drift:
        if drift.properties:
            lines.append(f"@@ changed by others: {drift.name} ({_short(drift.token)}) @@")
        for one in drift.properties:
            lines += [f"! {one.path}", *shown.difference(one, clean)]
    if preview.outputs:
        lines.append("@@ outputs of the stack @@")
        for one in preview.outputs:
            lines += [f"! {one.path}", *shown.difference(one, clean)]
    return ("Before and after", lines, "diff") if lines else None


def _what_is_made(preview: Preview, clean: Clean) -> _Part | None:
    lines: list[str] = []
    for change in preview.of_kind("create"):
        if not change.properties:
            continue
        lines.append(f"@@ create: {change.name} ({_short(change.token)}) @@")
        found = [
            shown.cut(clean(f"+ {one.path}: {shown.value(one.after)}")) for one in change.properties
        ]
        lines += found[:_CREATION_LINES]
        if len(found) > _CREATION_LINES:
            lines.append(f"  … {len(found) - _CREATION_LINES} properties more")
    return ("What is created", lines, "diff") if lines else None


def _details(title: str, lines: Sequence[str], language: str, room: int) -> list[str]:
    """Return `lines` in a fence that opens at a click, as many of them as there is room for."""
    kept, left = _within(lines, room)
    if not kept:
        return [f"{title}: left out, {len(lines)} lines are too many for one comment.", ""]
    told = [f"Cut here: {left} lines more are too many for one comment.", ""] if left else []
    head = [f"<details><summary>{title}</summary>", ""]
    return [*head, *fenced(kept, language), "", *told, "</details>", ""]


def _billing(billing: Billing | None, clean: Clean) -> list[str]:
    if billing is None:
        return []
    whence = " (from the mocked run)" if billing.mocked else ""
    gone = [one for one in billing.before or () if one not in billing.after]
    if not billing.after and not gone:
        return [f"`billing`{whence}: nothing of it bills.", ""]
    known = billing.before is not None
    rows = [_bill(one, "new" if known and one not in (billing.before or ()) else "", clean)
            for one in billing.after]  # fmt: skip
    rows += [_bill(one, "no more", clean) for one in gone]
    title = f"What bills{whence}"
    lines = [f"| {title} | while it runs | while it is parked | |", "|---|---|---|---|"]
    return [*lines, *_most(rows, "entries", _ROOM_FOR_BILLING), ""]


def _bill(bill: Bill, word: str, clean: Clean) -> str:
    runs, parked = ("yes" if one else "no" for one in (bill.running, bill.parked))
    mark = f"**{word}**" if word else ""
    return f"| {text(clean(bill.resource))} | {runs} | {parked} | {mark} |"


def _files(files: Files | None, clean: Clean, room: int) -> list[str]:
    if files is None:
        return []
    against = code(files.base)
    if files.problem:
        return [f"Rendered files: no diff against {against}: {text(clean(files.problem))}", ""]
    if not files.changes:
        what = f"the same {files.count} files as {against}" if files.count else "none"
        return [f"Rendered files: {what}.", ""]
    counts = [
        f"{count} {kind}"
        for kind in ("changed", "added", "removed")
        if (count := sum(one.kind == kind for one in files.changes))
    ]
    # Within a summary HTML alone counts.
    title = f"Rendered files against {html.escape(files.base)}: {', '.join(counts)}"
    names = _most([f"{one.kind}: {one.path}" for one in files.changes], "files", _ROOM_FOR_NAMES)
    lines = chain.from_iterable(one.lines for one in files.changes)
    kept, left = _within([shown.cut(line) for line in lines], room - _length(names), clean)
    head = [f"<details><summary>{title}</summary>", ""]
    if not left:
        return [*head, *fenced(kept), "", "</details>", ""]
    told = (
        f"Cut here: {left} lines more are too many for one comment. "
        f"{code('python -m scripts.render STACK --out DIR')} in both checkouts writes all of them."
    )
    body = [*fenced(names, "text"), "", *fenced(kept), ""]
    return [*head, *body, told, "", "</details>", ""]


def _within(lines: Iterable[str], room: int, clean: Clean | None = None) -> tuple[list[str], int]:
    """Return the lines that there is room for, and how many there is none for."""
    kept: list[str] = []
    left = 0
    for line in lines:
        if left or room < len(line) + 1:
            left += 1
            continue
        room -= len(line) + 1
        kept.append(clean(line) if clean else line)
    return kept, left


def _most(rows: Sequence[str], what: str, room: int) -> list[str]:
    """Return the first rows, as many as there is room for, and how many more there are."""
    kept, left = _within(rows[:_MOST_ROWS], room)
    left += len(rows) - len(rows[:_MOST_ROWS])
    if not left:
        return kept
    return [
        *kept,
        f"| … {left} {what} more |" if rows[0].startswith("|") else f"… {left} {what} more",
    ]


def _length(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _short(token: str) -> str:
    """Return a type as pulumi shows it: `gcp:compute/instance:Instance` as in its own tables."""
    package, _, rest = token.partition(":")
    module, _, name = rest.partition(":")
    return f"{package}:{module.partition('/')[0]}:{name}" if name else token
