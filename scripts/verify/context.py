"""What the checks share: how to ask, what to hold the answers to, and what they found."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.verify.client import Client
from scripts.verify.options import Options
from scripts.verify.outcome import Failure
from scripts.verify.receipt import Concurrency
from scripts.verify.shape import Json


@dataclass
class Findings:
    """What the checks found so far, for the checks after them and for the receipt.

    `listed` is the model's entry in `/v1/models`, `fingerprint` what chats give as
    `system_fingerprint`.
    """

    model: str | None = None
    listed: Json = None
    fingerprint: str | None = None
    time_to_first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    concurrency: Concurrency | None = None


@dataclass(frozen=True)
class Context:
    """One verification under way: `client` sends the key."""

    options: Options
    client: Client
    findings: Findings

    def chat(self, prompt: str, max_tokens: int, **more: Json) -> dict[str, Json]:
        """Return the body of a chat request for the model that is checked.

        Temperature 0, so that one verification is like the next.
        """
        return {
            "model": self.findings.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            **more,
        }

    def hold_to_model(self, named: set[str]) -> None:
        """Raise `Failure` where an answer names another model than was asked.

        A longer form of the id (with a date or a version) is the same model.
        """
        wanted = self.findings.model or ""
        others = sorted(name for name in named if not name.startswith(wanted))
        if others:
            raise Failure(
                f"answers by the model {wanted}",
                f"answers by {self.client.quote(', '.join(others))}",
                "look whether an older server still answers there, and at the gateway's routes",
            )
