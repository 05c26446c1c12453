"""What a plugin refuses or fails at, with the gRPC status that the engine gets."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import grpc


class PluginError(Exception):
    """Ends a call with `status`; the text is what the person reads."""

    status = grpc.StatusCode.UNKNOWN


class InvalidProperties(PluginError):
    """Properties have names, types or wire forms that the resource doesn't have."""


class NotServed(PluginError):
    """A resource or function that the published plugin may have, but this stand-in lacks."""

    status = grpc.StatusCode.NOT_FOUND


class NotImplementedHere(PluginError):
    """A call that neither this plugin nor the published one implements; the engine copes."""

    status = grpc.StatusCode.UNIMPLEMENTED


@contextlib.contextmanager
def answering(context: grpc.ServicerContext) -> Generator[None]:
    """End the call with the status of the `PluginError` that is raised within."""
    try:
        yield
    except PluginError as error:
        context.abort(error.status, str(error))
