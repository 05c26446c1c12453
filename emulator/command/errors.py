"""What the plugin refuses or fails at, with the gRPC status that the engine gets."""

from __future__ import annotations

import grpc


class PluginError(Exception):
    """Ends a call with `status`; the text is what the person reads."""

    status = grpc.StatusCode.UNKNOWN


class CommandFailed(PluginError):
    """A command did not start, ended by a signal or with a status other than 0."""


class CommandCancelled(PluginError):
    """A command was not started because the engine has cancelled the update."""

    status = grpc.StatusCode.CANCELLED


class OutputNotText(PluginError):
    """A command printed what a Pulumi string can't hold."""

    status = grpc.StatusCode.INTERNAL


class FilesNotCollected(PluginError):
    """`assetPaths` or `archivePaths` name what can't be read, or are no globs."""


class InvalidProperties(PluginError):
    """Properties have names, types or wire forms that the resource doesn't have."""


class NotServed(PluginError):
    """A resource or function that the published plugin may have, but this stand-in lacks."""

    status = grpc.StatusCode.NOT_FOUND


class NotImplementedHere(PluginError):
    """A call that neither this plugin nor the published one implements; the engine copes."""

    status = grpc.StatusCode.UNIMPLEMENTED
