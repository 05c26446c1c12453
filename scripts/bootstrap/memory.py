"""Small answers kept between runs, so that an unchanged run asks nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.bootstrap.places import read_object, write_object


@dataclass(frozen=True)
class Memory:
    """Answers in the JSON file `path`: each with what it was the answer to."""

    path: Path

    def recall(self, name: str, question: str, ask: Callable[[], str]) -> str:
        """Return the answer called `name` to `question`; asked, and kept, where not known.

        An empty answer is not kept, nor any where the file's folder is not there.
        """
        answers = read_object(self.path)
        known = answers.get(name)
        if isinstance(known, dict):
            entry = cast("dict[str, object]", known)
            if entry.get("question") == question and isinstance(entry.get("answer"), str):
                return str(entry["answer"])
        answer = ask()
        if answer and self.path.parent.is_dir():
            write_object(self.path, {**answers, name: {"question": question, "answer": answer}})
        return answer
