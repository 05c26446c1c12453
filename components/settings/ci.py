"""The keys of `ci`: where a team's state lies, and what GitHub's workflows may do."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from components.settings import network
from components.settings.base import Settings
from components.settings.gcp import ProjectId
from components.settings.place import BucketName, Region, region_warning
from components.settings.values import words

CLOUD_PROGRAMS = ("cpu-vm", "gke-colab", "gke-ovms", "gpu-vm", "model-registry")
"""The programs that deploy to Google Cloud; `ci` itself is a person's to deploy."""

_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
# They stand in conditions and in shell lines: nothing in them may end a quoted text.
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_BRANCH = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/-]{0,253}[A-Za-z0-9_])?")
_STACK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PRINTS_IDS = "gh api repos/OWNER/REPO --jq '.id, .owner.id'"


def _repository(value: str) -> str:
    if _REPOSITORY.fullmatch(value) is None:
        raise ValueError("it takes OWNER/REPO, as in github.com/OWNER/REPO, and no more of the URL")
    return value


def _number(value: object) -> object:
    text = str(value)
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(
            f"it takes the number that GitHub knows it by, not its name: {_PRINTS_IDS}"
        )
    return text


def _environment(value: str) -> str:
    if _ENVIRONMENT.fullmatch(value) is None:
        raise ValueError("it takes letters, digits, - _ and . (GitHub: Settings, Environments)")
    return value


def _branch(value: str) -> str:
    if _BRANCH.fullmatch(value) is None or ".." in value or "//" in value:
        raise ValueError("it takes a branch's name such as main, without refs/heads/")
    return value


def _stacks(value: tuple[str, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for entry in value:
        stack, equals, program = entry.partition("=")
        if (program if equals else stack) not in CLOUD_PROGRAMS:
            raise ValueError(
                f"{entry!r} names no program in Google Cloud ({', '.join(CLOUD_PROGRAMS)}): write "
                "its name, or STACK=PROGRAM for a stack of another name"
            )
        if _STACK.fullmatch(stack) is None:
            raise ValueError(f"{stack!r} is no stack's name: letters, digits, - _ and .")
        names.append(stack)
    if not value:
        raise ValueError(f"name one stack at least, of {', '.join(CLOUD_PROGRAMS)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice")
    return tuple(sorted(value))


Number = Annotated[str, BeforeValidator(_number)]


class CiSettings(Settings):
    """The keys of `ci`: where a team's state lies, and what GitHub's workflows may do."""

    project: ProjectId = Field(
        alias="gcp:project",
        description="The project's id: of the state, and of all that workflows deploy.",
        examples=["PROJECT_ID"],
    )
    region: Region = Field(
        alias="gcp:region",
        description="The region of the bucket and the key.",
        examples=["europe-west4"],
    )
    github_repository: Annotated[str, AfterValidator(_repository)] = Field(
        description="The repository whose workflows are let in: `OWNER/REPO`. It stands in what is "
        "printed; who is let in goes by the two numbers.",
        examples=["OWNER/REPO"],
    )
    github_repository_id: Number = Field(
        description="The repository's number, which it keeps when it is renamed: "
        f"`{_PRINTS_IDS}` prints it, and then its owner's.",
        examples=["\"$(gh api repos/OWNER/REPO --jq '.id')\""],
    )
    github_owner_id: Number = Field(
        description="The number of the repository's owner, a person or an organisation.",
        examples=["\"$(gh api repos/OWNER/REPO --jq '.owner.id')\""],
    )
    environment: Annotated[str, AfterValidator(_environment)] = Field(
        default="production",
        description="The GitHub environment whose jobs may deploy: its reviewers approve each.",
    )
    branch: Annotated[str, AfterValidator(_branch)] = Field(
        default="main",
        description="The one branch whose jobs may deploy.",
    )
    stacks: Annotated[tuple[str, ...], BeforeValidator(words), AfterValidator(_stacks)] = Field(
        default=CLOUD_PROGRAMS,
        description="What workflows deploy, which decides what they may do: names of programs, or "
        "`STACK=PROGRAM` where a stack has another name.",
    )
    bucket_name: BucketName | None = Field(
        default=None,
        description="Name of the state's bucket, which nobody else in the world may have. Unset: "
        "of the project's id and the stack's name.",
    )
    generation: int = Field(
        default=1,
        ge=1,
        le=999,
        description="Raised after all of it was deleted, since Google gives the names of deleted "
        "keys never again, and those of identity pools after 30 days.",
    )
    keep_data: bool = Field(
        default=True,
        description="Refuse to delete what can't be made again: bucket, key, identity pool and "
        "the role of its own that previews have.",
    )
    labels: Annotated[
        dict[str, str], BeforeValidator(network.label_pairs), AfterValidator(network.labels)
    ] = Field(
        default={},
        description="Labels of bucket and key, as in `team=research cost-centre=42`.",
    )

    def deployed(self) -> dict[str, str]:
        """Return the program of each stack that workflows deploy, by the stack's name."""
        pairs = (entry.partition("=") for entry in self.stacks)
        return {stack: program or stack for stack, _, program in pairs}

    def warnings(self) -> tuple[str, ...]:
        """Return what nobody here can judge."""
        return (*super().warnings(), *region_warning(self.region))
