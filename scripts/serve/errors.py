"""The one error of this package that a person is meant to read."""


class ServeError(RuntimeError):
    """Why the server can't be started, stopped or placed: one message with the next step."""
