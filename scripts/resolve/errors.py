"""What can't be looked up and is needed."""


class ResolveError(Exception):
    """What is wrong, and what to do next."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(f"{problem}\nnext: {next_step}")
