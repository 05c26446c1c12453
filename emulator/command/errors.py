"""What the plugin refuses or fails at, with the gRPC status that the engine gets."""

from __future__ import annotations

import grpc

from emulator.plugin.errors import PluginError


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
