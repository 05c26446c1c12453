"""A provider plugin for Pulumi that answers as version 1.2.x of the published `command` does.

Served: the resource `command:local:Command` and the function `command:local:run`. What runs on
other machines (`command:remote:*`) is refused, with the way to the published plugin.

`python CHECKOUT/emulator/command [ENGINE_ADDRESS]` starts it, as `python -m emulator.command`
does; it prints the port on which it listens.
"""
